//! `/v1/files`: what goes in comes out, in pages, within the limit.

use anyhow::{Context as _, Result, ensure};
use hearth_tests::{Server, ServerOptions};
use serde_json::json;

#[tokio::test]
async fn a_file_lives_and_goes() -> Result<()> {
    let server = Server::start().await?;
    let file = server.upload("../../chats é.jsonl", "{\"a\": 1}\n").await?;
    let id = file["id"].as_str().context("an id")?;
    ensure!(file["object"] == "file" && file["bytes"] == 9 && file["purpose"] == "fine-tune", "{file}");
    ensure!(file["filename"] == "chats é.jsonl" && file["status"] == "processed", "{file}");
    ensure!(server.get(&format!("/v1/files/{id}")).await?.expect(200)? == file);
    let content = server.get(&format!("/v1/files/{id}/content")).await?;
    ensure!(content.text() == "{\"a\": 1}\n");
    let gone = server.delete(&format!("/v1/files/{id}")).await?.expect(200)?;
    ensure!(gone == json!({"id": id, "object": "file", "deleted": true}));
    ensure!(server.get(&format!("/v1/files/{id}")).await?.status == 404);
    ensure!(std::fs::read_dir(server.data_dir().join("files"))?.next().is_none(), "bytes stayed");
    Ok(())
}

#[tokio::test]
async fn lists_come_in_pages() -> Result<()> {
    let server = Server::start().await?;
    let mut ids = Vec::new();
    for n in 0..5 {
        let file = server.upload(&format!("{n}.jsonl"), "x").await?;
        ids.push(file["id"].as_str().context("an id")?.to_owned());
    }
    ids.reverse();
    let mut seen = Vec::new();
    let mut path = "/v1/files?limit=2".to_owned();
    loop {
        let page = server.get(&path).await?.expect(200)?;
        ensure!(page["object"] == "list");
        let rows = page["data"].as_array().context("a list")?;
        ensure!(page["first_id"] == rows[0]["id"] && page["last_id"] == rows[rows.len() - 1]["id"]);
        seen.extend(rows.iter().filter_map(|row| row["id"].as_str().map(str::to_owned)));
        if page["has_more"] == false {
            break;
        }
        path = format!("/v1/files?limit=2&after={}", page["last_id"].as_str().context("an id")?);
    }
    ensure!(seen == ids, "{seen:?}");
    let ascending = server.get("/v1/files?order=asc&limit=1").await?.expect(200)?;
    ensure!(ascending["data"][0]["id"] == ids[4].as_str());
    ensure!(server.get("/v1/files?limit=0").await?.status == 400);
    Ok(())
}

#[tokio::test]
async fn too_large_and_unwanted_uploads_are_refused_and_leave_nothing() -> Result<()> {
    let options =
        ServerOptions { arguments: vec!["--max-upload-bytes".into(), "1000".into()], ..ServerOptions::default() };
    let server = Server::start_with(options).await?;
    ensure!(server.upload("small", &"x".repeat(1000)).await.is_ok());
    let error = server.upload("large", &"x".repeat(1001)).await.err().context("1001 bytes went in")?;
    ensure!(error.to_string().contains("413"), "{error}");
    let form = |purpose: &str| {
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\n{purpose}\r\n--b\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nx\r\n--b--\r\n"
        )
    };
    for (purpose, code) in [("batch", json!("unsupported_parameter")), ("nonsense", json!(null))] {
        let request = server
            .client()
            .post(server.url("/v1/files"))
            .header("content-type", "multipart/form-data; boundary=b")
            .body(form(purpose));
        let reply = server.send(request).await?.expect(400)?;
        ensure!(reply["error"]["param"] == "purpose" && reply["error"]["code"] == code, "{reply}");
    }
    let left = std::fs::read_dir(server.data_dir().join("files"))?.count();
    ensure!(left == 1, "{left} files on disk");
    Ok(())
}
