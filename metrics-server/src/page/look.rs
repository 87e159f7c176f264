//! The name and the logo of the page, and the pages that may embed it.

use bytes::Bytes;

/// The largest logo, in bytes. The page should stay small.
const LOGO_BYTES_MAX: usize = 128 * 1_024;

/// The name and the logo of the page, and the pages that may embed it.
///
/// ```
/// use metrics_server::{PageLook, Settings};
///
/// let look = PageLook { name: "Video".to_owned(), frames: vec!["https://cms.example.com".to_owned()], ..PageLook::default() };
/// let settings = Settings::default().page(look);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PageLook {
    /// The name beside the logo, and in the title of the tab.
    pub name: String,
    /// The logo; by default, that of metrics.
    pub logo: Option<Logo>,
    /// The origins whose pages may embed the page in a frame, such as `https://cms.example.com`; by default, none. `*`
    /// stands for all.
    pub frames: Vec<String>,
}

/// An image: SVG, PNG, JPEG or WebP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Logo {
    bytes: Bytes,
    kind: &'static str,
}

/// The reason why bytes are no logo.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLogo {
    /// It is too large.
    #[error("is larger than {} KiB", LOGO_BYTES_MAX / 1_024)]
    TooLarge,
    /// It is no image that browsers show.
    #[error("is no SVG, PNG, JPEG or WebP")]
    NoImage,
}

impl Default for PageLook {
    fn default() -> Self {
        Self { name: "metrics".to_owned(), logo: None, frames: Vec::new() }
    }
}

impl PageLook {
    /// The value of `frame-ancestors`.
    pub(crate) fn ancestors(&self) -> String {
        if self.frames.is_empty() { "'none'".to_owned() } else { self.frames.join(" ") }
    }
}

impl Logo {
    /// Checks an image.
    ///
    /// # Errors
    ///
    /// [`InvalidLogo`] if it is too large, or no SVG, PNG, JPEG or WebP.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, InvalidLogo> {
        let bytes = bytes.into();
        if LOGO_BYTES_MAX < bytes.len() {
            return Err(InvalidLogo::TooLarge);
        }
        let is_svg = |text: &str| {
            let text = text.trim_start_matches('\u{feff}').trim_start();
            (text.starts_with("<svg") || text.starts_with("<?xml") || text.starts_with("<!--"))
                && text.contains("<svg")
        };
        let kind = match &bytes[..] {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => "image/png",
            [0xff, 0xd8, 0xff, ..] => "image/jpeg",
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
            bytes if str::from_utf8(bytes).is_ok_and(is_svg) => "image/svg+xml",
            _ => return Err(InvalidLogo::NoImage),
        };
        Ok(Self { bytes, kind })
    }

    /// Its media type.
    pub(crate) const fn kind(&self) -> &'static str {
        self.kind
    }

    pub(crate) fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<&str, InvalidLogo>) {
        assert_eq!(Logo::new(bytes.to_vec()).map(|it| it.kind), expected);
    }

    #[test]
    fn a_logo_is_known_by_its_first_bytes() {
        check(b"\x89PNG\r\n\x1a\n...", Ok("image/png"));
        check(b"\xff\xd8\xff\xe0", Ok("image/jpeg"));
        check(b"RIFF\0\0\0\0WEBPVP8 ", Ok("image/webp"));
        check(b"<svg xmlns='http://www.w3.org/2000/svg'/>", Ok("image/svg+xml"));
        check(b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg/>", Ok("image/svg+xml"));
        check(b"<html><svg></svg></html>", Err(InvalidLogo::NoImage));
        check(b"GIF89a", Err(InvalidLogo::NoImage));
        check(b"", Err(InvalidLogo::NoImage));
        check(&vec![0; LOGO_BYTES_MAX + 1], Err(InvalidLogo::TooLarge));
    }
}
