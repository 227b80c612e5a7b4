//! Answers are read up to a length: who answers may be anybody, and without an end.

use reqwest::Response;

/// Why there is no text.
pub(super) enum TextError {
    /// It broke off, or took too long.
    Http(reqwest::Error),
    /// It is longer than was asked for; its beginning.
    TooLong(String),
}

/// The text of an answer that is no longer than so many bytes.
pub(super) async fn text(mut response: Response, limit: usize) -> Result<String, TextError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(TextError::Http)? {
        let room = limit - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Err(TextError::TooLong(lossy(&bytes)));
        }
    }
    Ok(lossy(&bytes))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
