//! Decodes a body as UTF-8, with or without a byte order mark. Other encodings are only recognised, so that
//! the error names the cause: a wrong guess would store wrong text.

/// The mark that Windows programs often write at the start of UTF-8 text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The first bytes of other encodings, with their names.
const SIGNATURES: [(&[u8], &str); 9] = [
    (&[0xff, 0xfe, 0, 0], "in UTF-32"),
    (&[0, 0, 0xfe, 0xff], "in UTF-32"),
    (&[0xff, 0xfe], "in UTF-16"),
    (&[0xfe, 0xff], "in UTF-16"),
    (&[0x1f, 0x8b], "compressed with gzip"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "compressed with zstd"),
    (&[0x78, 0x01], "compressed with deflate"),
    (&[0x78, 0x9c], "compressed with deflate"),
    (&[0x78, 0xda], "compressed with deflate"),
];

/// The text of a body without its byte order mark, or a sentence that names the likely encoding.
pub(super) fn utf8(body: &[u8]) -> Result<&str, String> {
    if let Some(cause) = other_encoding(body) {
        let instead = if cause.starts_with("compressed") { "uncompressed" } else { "as UTF-8" };
        return Err(format!("the body is {cause}; send it {instead}"));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        format!(
            "the body is not UTF-8, from byte {} on; it may be in Windows-1252 or ISO-8859-1: send it \
             as UTF-8",
            error.valid_up_to()
        )
    })?;
    Ok(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text))
}

fn other_encoding(body: &[u8]) -> Option<&'static str> {
    let signature = SIGNATURES.iter().find(|(bytes, _)| body.starts_with(bytes));
    // The bytes of deflate can also be text: the letter x and a control character.
    let signature =
        signature.filter(|(bytes, _)| bytes[0] != 0x78 || std::str::from_utf8(body).is_err());
    signature.map(|(_, name)| *name).or_else(|| by_zero_bytes(body))
}

/// Recognises UTF-16 and UTF-32 without a mark by the zero bytes in ASCII letters. JSON and readable
/// text in UTF-8 contain none.
fn by_zero_bytes(body: &[u8]) -> Option<&'static str> {
    let start: Vec<bool> = body.iter().take(4).map(|byte| *byte == 0).collect();
    match start[..] {
        [true, true, true, false] | [false, true, true, true] => Some("in UTF-32"),
        [true, false, true, false] | [false, true, false, true] | [true, false] | [false, true] => {
            Some("in UTF-16")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"attributes":{"a":"é"}}"#;

    fn wide(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn a_byte_order_mark_is_skipped_once() {
        assert_eq!(utf8("\u{feff}{}".as_bytes()), Ok("{}"));
        assert_eq!(utf8("\u{feff}\u{feff}".as_bytes()), Ok("\u{feff}"));
        assert_eq!(utf8(JSON.as_bytes()), Ok(JSON));
        assert_eq!(utf8(b""), Ok(""));
        assert_eq!(utf8(b"x\x01y"), Ok("x\u{1}y"));
        assert_eq!(utf8(b"g"), Ok("g"));
    }

    #[test]
    fn other_encodings_are_named() {
        let marked = format!("\u{feff}{JSON}");
        for body in [
            wide(JSON, u16::to_le_bytes),
            wide(JSON, u16::to_be_bytes),
            wide(&marked, u16::to_le_bytes),
            wide(&marked, u16::to_be_bytes),
            wide("7", u16::to_le_bytes),
        ] {
            let error = utf8(&body).expect_err("UTF-16");
            assert_eq!(error, "the body is in UTF-16; send it as UTF-8");
        }
        let wider: Vec<u8> = marked.chars().flat_map(|one| u32::from(one).to_le_bytes()).collect();
        assert_eq!(utf8(&wider), Err("the body is in UTF-32; send it as UTF-8".to_owned()));
        let wider: Vec<u8> = JSON.chars().flat_map(|one| u32::from(one).to_be_bytes()).collect();
        assert_eq!(utf8(&wider), Err("the body is in UTF-32; send it as UTF-8".to_owned()));
        let error = utf8(b"\x1f\x8b\x08\x00").expect_err("gzip");
        assert_eq!(error, "the body is compressed with gzip; send it uncompressed");
        let error = utf8(b"{\"attributes\":{\"a\":\"\xe9\"}}").expect_err("Latin-1");
        assert!(error.contains("from byte 20 on") && error.contains("Windows-1252"), "{error}");
    }
}
