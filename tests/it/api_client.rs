//! The official Python client against this server: `conformance/openai_client.py` does what its users do.

use anyhow::{Result, ensure};
use hearth_tests::places;

use crate::api_chat::server;

#[tokio::test]
async fn the_official_client_is_content() -> Result<()> {
    let server = server().await?;
    let output = tokio::process::Command::new(places::python()?)
        .arg(places::root().join("tests").join("conformance").join("openai_client.py"))
        .arg(server.url("/v1"))
        .output()
        .await?;
    let words = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{words}\n{}\n{}", String::from_utf8_lossy(&output.stderr), server.log());
    ensure!(words.ends_with("conforms\n"), "{words}");
    Ok(())
}
