//! Reads response bodies up to a maximum length: anything may be listening there, and it may never stop sending.

use reqwest::Response;

/// Why a body could not be read.
pub(super) enum TextError {
    /// The connection failed or timed out.
    Http(reqwest::Error),
    /// The body exceeds the limit; its beginning.
    TooLong(String),
}

/// The text of a response whose body has at most `limit` bytes.
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
