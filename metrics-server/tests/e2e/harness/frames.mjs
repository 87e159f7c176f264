// Reads the websocket frames that a browser sends, for a proxy that only passes them on (RFC 6455, section 5.2).

const CONTINUATION = 0;
const TEXT = 1;
const MASK_BYTES = 4;

export class Frames {
  #rest = Buffer.alloc(0);
  #pieces = [];

  /** Takes a piece of the connection after its handshake; returns the text messages that it completes. */
  read(chunk) {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    const texts = [];
    for (let frame = this.#next(); frame; frame = this.#next()) {
      // Pings and closes may come between the frames of a message.
      if (frame.opcode !== CONTINUATION && frame.opcode !== TEXT) continue;
      this.#pieces.push(frame.payload);
      if (frame.isLast) texts.push(Buffer.concat(this.#pieces.splice(0)).toString());
    }
    return texts;
  }

  #next() {
    const rest = this.#rest;
    if (rest.length < 2) return null;
    const short = rest[1] & 0x7f;
    const lengthBytes = { 126: 2, 127: 8 }[short] ?? 0;
    const start = 2 + lengthBytes + MASK_BYTES;
    if (rest.length < start) return null;
    const length = lengthBytes ? Number(`0x${rest.toString('hex', 2, 2 + lengthBytes)}`) : short;
    if (rest.length < start + length) return null;
    this.#rest = rest.subarray(start + length);
    const mask = rest.subarray(start - MASK_BYTES, start);
    const payload = Buffer.from(rest.subarray(start, start + length)).map((byte, index) => byte ^ mask[index % MASK_BYTES]);
    return { opcode: rest[0] & 0x0f, isLast: rest[0] >= 0x80, payload };
  }
}
