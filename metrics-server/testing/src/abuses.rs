//! Everything that a stranger may do to a server to have it keep something.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::{CONTINUATION, FIN, PING, Poller, Seen, Server, TEXT, frame};

/// As many as a socket may have channels.
const SESSIONS: usize = 64;

/// Does all of it, so many times, and waits until it has ended. Where `name` stands, the server has not seen it yet.
pub async fn all(server: &Server, name: &str, times: usize) {
    let mut filling = JoinSet::new();
    for time in 0..times {
        filling.spawn(fill_socket(Server::clone(server), format!("filled-{name}-{time}")));
        filling.spawn(fill_poller(Server::clone(server), format!("polled-{name}-{time}")));
        filling.spawn(fill_batch(Server::clone(server), format!("batch-{name}-{time}")));
    }
    end(filling).await;
    for time in 0..times {
        let (server, name) = (|| Server::clone(server), format!("{name}-{time}"));
        let mut abuses = JoinSet::new();
        for bytes in requests(&server()) {
            abuses.spawn(send(server(), bytes));
        }
        for bytes in endings() {
            abuses.spawn(end_socket(server(), bytes));
        }
        abuses.spawn(flood_socket(server(), format!("flooded-{name}")));
        abuses.spawn(read_nothing(server()));
        abuses.spawn(guess(server(), format!("guess-{name}")));
        abuses.spawn(stall(server()));
        end(abuses).await;
    }
}

async fn end(mut abuses: JoinSet<()>) {
    while let Some(ended) = abuses.join_next().await {
        ended.unwrap();
    }
}

/// Sends bytes in a connection, and waits for its end.
async fn send(server: Server, bytes: Vec<u8>) {
    let (mut read, mut write) = TcpStream::connect(server.address).await.unwrap().into_split();
    // The server may not read to the end, and may end it with a reset.
    let writing = async { drop(write.write_all(&bytes).await) };
    let reading = async { drop(read.read_to_end(&mut Vec::new()).await) };
    tokio::join!(writing, reading);
}

/// Requests that are refused, or answered one by one, each in a connection of its own.
fn requests(server: &Server) -> Vec<Vec<u8>> {
    let post = |lines: &str, rest: &str| {
        format!("POST /v1/events HTTP/1.1\r\nhost: a\r\n{lines}\r\n\r\n{rest}").into_bytes()
    };
    let request = |path: &str, count| server.http("GET", path).bytes().repeat(count);
    let last = server.http("GET", "/health/live").header("connection", "close").bytes();
    let plays = "/api/v1/plays?identifier=filled";
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let large = "connection: close\r\ncontent-length: 1000000";
    vec![
        post("content-length: 1\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
        post("content-length: 1\r\ncontent-length: 2", "x"),
        post("transfer-encoding: gzip, chunked", "0\r\n\r\n"),
        post("transfer-encoding : chunked", "0\r\n\r\n"),
        post("transfer-encoding: chunked", &format!("1;{}", "x".repeat(100_000))),
        post("transfer-encoding: chunked", &chunk.repeat(20)),
        post(large, &"[".repeat(1_000_000)),
        post(large, &"[0,".repeat(1_000_000)),
        format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(70_000)).into_bytes(),
        format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(20_000)).into_bytes(),
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000)).into_bytes(),
        [request("/health/ready", 500), request("/", 100), request(plays, 20), last].concat(),
    ]
}

/// Frames that end a websocket.
fn endings() -> Vec<Vec<u8>> {
    let nested = format!("{}0{}", "[".repeat(30_000), "]".repeat(30_000));
    let deep = format!(r#"[null,"1","phoenix","heartbeat",{nested}]"#);
    let topic = format!(r#"[null,"1","{}","phx_join",{{}}]"#, "x".repeat(60_000));
    vec![
        frame(FIN | TEXT, &[b'x'; 70_000]),
        [frame(TEXT, &[b'x'; 60_000]), frame(FIN | CONTINUATION, &[b'x'; 60_000])].concat(),
        frame(CONTINUATION, b"").repeat(10),
        [frame(TEXT, b""), frame(CONTINUATION, b"").repeat(70)].concat(),
        frame(FIN | 0x40 | TEXT, b"x"),
        frame(FIN | TEXT, b"\xff"),
        frame(FIN | TEXT, deep.as_bytes()),
        frame(FIN | TEXT, topic.as_bytes()),
        vec![FIN | TEXT, 1, b'x'],
    ]
}

/// Opens a socket, sends bytes, and waits for the end.
async fn end_socket(server: Server, bytes: Vec<u8>) {
    let mut client = server.connect().await;
    client.send_bytes(&bytes).await;
    while !matches!(client.next().await, Seen::End | Seen::Close(..)) {}
}

/// Joins as many videos as a socket may, says as much about them as it may, plays some of each, and is gone.
async fn fill_socket(server: Server, name: String) {
    let mut client = server.connect().await;
    let much = "x".repeat(1_800);
    for number in 0..SESSIONS {
        let topic = format!("session:{name}-{number}");
        let about = json!({ "title": format!("{number} {much}") });
        let join = json!({ "key": client.key, "identifier": "filled", "metadata": about,
            "session_data": about });
        assert_eq!(client.call(&topic, "phx_join", &join).await, Value::Null);
        client.play(&topic, 0.0).await;
    }
}

/// The same over polls, with answers that nobody takes.
async fn fill_poller(server: Server, name: String) {
    let mut poller = Poller::open(&server).await;
    let much = "x".repeat(1_800);
    for number in 0..SESSIONS {
        let topic = format!("session:{name}-{number}");
        let about = json!({ "title": format!("{number} {much}") });
        let join = json!({ "key": server.key, "identifier": "filled", "metadata": about,
            "session_data": about });
        assert_eq!(poller.call(&topic, "phx_join", &join).await, Value::Null);
        poller.play(&topic, 0.0).await;
    }
    let nonsense = json!([null, "1", "x".repeat(1_000), "event", {}]);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&poller.lines(&vec![nonsense; 500]).bytes()).await.unwrap();
}

/// A batch of new sessions, of videos with the longest names, that are soon over.
async fn fill_batch(server: Server, name: String) {
    let event = |number: usize| {
        json!({ "name": "play", "key": server.key, "session_id": format!("{name}-{number}"),
            "embed_id": format!("{number}{}", "x".repeat(1_000)), "video_time": 0, "duration": 1,
            "timestamp": 1 })
    };
    let events: Vec<_> = (0..SESSIONS).map(event).collect();
    let answer = server.http("POST", "/v1/events").json(&json!({ "events": events })).send().await;
    assert_eq!(answer.json()["accepted"], SESSIONS, "{answer:?}");
}

/// Pings, joins, leaves and plays as fast as it can, and is gone before all of it is answered.
async fn flood_socket(server: Server, name: String) {
    let mut client = server.connect().await;
    let played = format!("session:{name}");
    client.join(&played, "flooded").await;
    let join = json!({ "key": client.key, "identifier": "flooded" });
    let mut bytes = frame(FIN | PING, &[7; 125]).repeat(1_000);
    for number in 0..100 {
        let topic = format!("session:{name}-{number}");
        for message in [
            json!(["1", "1", topic, "phx_join", join]),
            json!(["1", "2", topic, "phx_leave", {}]),
            json!(["1", "3", played, "event", { "name": "play", "from": number }]),
        ] {
            bytes.extend(frame(FIN | TEXT, message.to_string().as_bytes()));
        }
    }
    client.send_bytes(&bytes).await;
    for _ in 0..1_000 {
        client.next().await;
    }
}

/// Asks for a lot, reads nothing of it, and is gone.
async fn read_nothing(server: Server) {
    let (_reader, mut writer) = server.connect().await.split();
    let nonsense = json!([null, "1", "x".repeat(1_000), "event", {}]).to_string();
    writer.write_all(&frame(FIN | TEXT, nonsense.as_bytes()).repeat(2_000)).await.unwrap();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&server.http("GET", "/").bytes().repeat(300)).await.unwrap();
}

/// Guesses keys, in a batch of them.
async fn guess(server: Server, name: String) {
    let event = |number: usize| {
        json!({ "name": "play", "key": format!("{name}-{number}"), "session_id": "a",
            "embed_id": "a", "video_time": 0, "timestamp": 1 })
    };
    let events: Vec<_> = (0..256).map(event).collect();
    let answer = server.http("POST", "/v1/events").json(&json!({ "events": events })).send().await;
    assert_eq!(answer.status, 429, "{answer:?}");
}

/// Sends a body that stops short of its end, and is gone.
async fn stall(server: Server) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /v1/events HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n";
    stream.write_all(&[head.as_bytes(), &[b' '; 60_000]].concat()).await.unwrap();
}
