//! TLS for what this program fetches: rustls over ring.

/// Makes ring the process's cryptography. An HTTP client that is made before panics; where one is installed already, nothing happens.
pub fn install() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
