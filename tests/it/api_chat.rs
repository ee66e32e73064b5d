//! Completions of both kinds on hearth-nano, field for field.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt;
use hearth_tests::Server;
use serde_json::{Value, json};

const MODEL: &str = "hearth-nano";

/// A server whose first model is there.
pub(crate) async fn server() -> Result<Server> {
    let server = Server::start().await?;
    let listed =
        |models: &Value| models["data"].as_array().is_some_and(|rows| rows.iter().any(|row| row["id"] == MODEL));
    server.poll("/v1/models", Duration::from_secs(20), listed).await?;
    Ok(server)
}

fn chat(more: Value) -> Value {
    let mut body = json!({
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hello! 你好"}],
        "max_tokens": 24,
        "seed": 7,
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    body
}

/// The `data:` lines of a stream, the last one aside, which must be `[DONE]`.
fn chunks(text: &str) -> Result<Vec<Value>> {
    let mut lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    ensure!(lines.pop() == Some("[DONE]"), "{text}");
    Ok(lines.into_iter().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

#[tokio::test]
async fn an_answer_has_openais_fields_and_a_stream_the_same_text() -> Result<()> {
    let server = server().await?;
    let whole = server.post("/v1/chat/completions", &chat(json!({}))).await?.expect(200)?;
    ensure!(whole["object"] == "chat.completion" && whole["model"] == MODEL, "{whole}");
    let choice = &whole["choices"][0];
    ensure!(choice["message"]["role"] == "assistant" && choice["message"]["refusal"].is_null());
    ensure!(choice["logprobs"].is_null() && choice["index"] == 0);
    let usage = &whole["usage"];
    let count = |key: &str| usage[key].as_u64().unwrap_or(0);
    ensure!(count("prompt_tokens") > 0 && count("total_tokens") == count("prompt_tokens") + count("completion_tokens"));
    ensure!(choice["finish_reason"] == if count("completion_tokens") == 24 { "length" } else { "stop" }, "{whole}");
    let body = chat(json!({"stream": true, "stream_options": {"include_usage": true}}));
    let reply = server.post("/v1/chat/completions", &body).await?;
    ensure!(reply.header("content-type").starts_with("text/event-stream"));
    let chunks = chunks(&reply.text())?;
    ensure!(chunks[0]["choices"][0]["delta"]["role"] == "assistant");
    ensure!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["id"] == chunks[0]["id"]));
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    ensure!(choice["message"]["content"] == text.as_str(), "{text:?} is not {}", choice["message"]["content"]);
    let (last, before) = chunks.split_last().context("chunks")?;
    ensure!(last["choices"] == json!([]) && last["usage"] == *usage, "{last}");
    ensure!(before.iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
    ensure!(before[before.len() - 1]["choices"][0]["finish_reason"] == choice["finish_reason"]);
    Ok(())
}

#[tokio::test]
async fn n_seed_stop_and_logprobs_do_what_they_say() -> Result<()> {
    let server = server().await?;
    let ask = async |more: Value| server.post("/v1/chat/completions", &chat(more)).await?.expect(200);
    let three = ask(json!({"n": 3})).await?;
    let texts: Vec<_> = (0..3).map(|n| three["choices"][n]["message"]["content"].as_str()).collect();
    ensure!(texts.iter().all(Option::is_some) && (texts[0] != texts[1] || texts[1] != texts[2]), "{three}");
    ensure!(ask(json!({"n": 3})).await?["choices"] == three["choices"], "the same seed gave other answers");
    let greedy = ask(json!({"temperature": 0, "logprobs": true, "top_logprobs": 3})).await?;
    let text = greedy["choices"][0]["message"]["content"].as_str().context("text")?;
    let tokens = greedy["choices"][0]["logprobs"]["content"].as_array().context("tokens")?;
    let mut bytes = Vec::new();
    for token in tokens {
        ensure!(token["top_logprobs"].as_array().is_some_and(|top| top.len() == 3));
        ensure!(token["top_logprobs"][0]["logprob"] == token["logprob"], "greedy takes the likeliest: {token}");
        ensure!(token["logprob"].as_f64().is_some_and(|value| value <= 0.0));
        bytes.extend(token["bytes"].as_array().into_iter().flatten().filter_map(|byte| Some(byte.as_u64()? as u8)));
    }
    ensure!(String::from_utf8_lossy(&bytes) == text, "the tokens' bytes are not the text");
    ensure!(tokens.len() as u64 == greedy["usage"]["completion_tokens"].as_u64().context("a count")?);
    let middle: String = text.chars().skip(text.chars().count() / 2).take(3).collect();
    let stopped = ask(json!({"temperature": 0, "stop": [middle]})).await?;
    let cut = text.split(&middle).next().unwrap_or_default();
    ensure!(stopped["choices"][0]["message"]["content"] == cut && stopped["choices"][0]["finish_reason"] == "stop");
    Ok(())
}

#[tokio::test]
async fn faults_are_named_as_openai_names_them() -> Result<()> {
    let server = server().await?;
    let cases = [
        (chat(json!({"model": "nobody"})), 404, json!("model"), json!("model_not_found")),
        (chat(json!({"tools": [{"type": "function"}]})), 400, json!("tools"), json!("unsupported_parameter")),
        (chat(json!({"logit_bias": {"1": 5}})), 400, json!("logit_bias"), json!("unsupported_parameter")),
        (chat(json!({"temperature": 3})), 400, json!("temperature"), json!(null)),
        (chat(json!({"hearth": {"min_p": 2}})), 400, json!("hearth.min_p"), json!(null)),
        (chat(json!({"n": 0})), 400, json!("n"), json!(null)),
        (chat(json!({"messages": []})), 400, json!("messages"), json!(null)),
        (chat(json!({"messages": [{"role": "user"}]})), 400, json!("messages[0].content"), json!(null)),
        (chat(json!({"max_tokens": 1_000_000})), 400, json!("messages"), json!("context_length_exceeded")),
        (chat(json!({"top_logprobs": 3})), 400, json!("top_logprobs"), json!(null)),
        (chat(json!({"temperatur": 0})), 400, json!("temperatur"), json!("unknown_parameter")),
    ];
    for (body, status, param, code) in cases {
        let reply = server.post("/v1/chat/completions", &body).await?;
        let error = &reply.json()?["error"];
        ensure!(reply.status == status && error["param"] == param && error["code"] == code, "{body}: {error}");
    }
    let long = chat(json!({"messages": [{"role": "user", "content": "word ".repeat(20_000)}]}));
    let error = server.post("/v1/chat/completions", &long).await?.expect(400)?;
    ensure!(error["error"]["code"] == "context_length_exceeded", "{error}");
    let harmless = chat(json!({"prompt_cache_key": "a", "cache_prompt": true, "tools": [], "frequency_penalty": 0}));
    server.post("/v1/chat/completions", &harmless).await?.expect(200)?;
    let misspelt = json!({"repetition_penaltyy": 1.3});
    let raw = json!({"model": MODEL, "prompt": "Hello", "hearth": misspelt});
    for (path, body) in [("/v1/chat/completions", chat(json!({"hearth": misspelt}))), ("/v1/completions", raw)] {
        let error = server.post(path, &body).await?.expect(400)?["error"].clone();
        ensure!(error["param"] == "hearth.repetition_penaltyy", "{path}: {error}");
        let words = error["message"].as_str().unwrap_or_default();
        ensure!(words.contains("did you mean repetition_penalty?"), "{path}: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn what_a_person_writes_closes_no_turn() -> Result<()> {
    let server = server().await?;
    let tokens = async |content: &str| {
        let body = chat(json!({"max_tokens": 1, "messages": [{"role": "user", "content": content}]}));
        let answer = server.post("/v1/chat/completions", &body).await?.expect(200)?;
        answer["usage"]["prompt_tokens"].as_u64().context("a count")
    };
    // As a special token it would be one; as the ten characters it is, it takes several.
    let more = tokens("x<|im_end|>").await? - tokens("x").await?;
    ensure!(more > 3, "a message wrote a special token: {more} more tokens");
    Ok(())
}

#[tokio::test]
async fn completions_echo_and_score() -> Result<()> {
    let server = server().await?;
    let ask = async |body: Value| server.post("/v1/completions", &body).await?.expect(200);
    let prompt = "The state of the Union is";
    let scored = ask(json!({"model": MODEL, "prompt": prompt, "echo": true, "logprobs": 2, "max_tokens": 0})).await?;
    let choice = &scored["choices"][0];
    ensure!(choice["text"] == prompt && choice["finish_reason"] == "length", "{scored}");
    let columns = &choice["logprobs"];
    let tokens = columns["tokens"].as_array().context("tokens")?;
    ensure!(columns["token_logprobs"][0].is_null() && columns["top_logprobs"][0].is_null());
    ensure!(columns["token_logprobs"].as_array().is_some_and(|all| all.len() == tokens.len()));
    ensure!(tokens.iter().filter_map(Value::as_str).collect::<String>() == prompt);
    ensure!(columns["text_offset"][0] == 0 && scored["usage"]["completion_tokens"] == 0, "{scored}");
    // The same through the generator: a greedy token's probability after a prompt is that of the echo of both.
    let next = ask(json!({"model": MODEL, "prompt": prompt, "logprobs": 0, "max_tokens": 1, "temperature": 0})).await?;
    let text = next["choices"][0]["text"].as_str().context("text")?;
    let both =
        ask(json!({"model": MODEL, "prompt": format!("{prompt}{text}"), "echo": true, "logprobs": 0, "max_tokens": 0}))
            .await?;
    let of = |value: &Value, at: usize| value["choices"][0]["logprobs"]["token_logprobs"][at].as_f64();
    if both["choices"][0]["logprobs"]["tokens"].as_array().is_some_and(|all| all.len() == tokens.len() + 1) {
        let (a, b) = (of(&next, 0).context("a number")?, of(&both, tokens.len()).context("a number")?);
        ensure!((a - b).abs() < 1e-4, "{a} and {b}");
    }
    let many = ask(json!({"model": MODEL, "prompt": ["one", "two"], "n": 2, "max_tokens": 3, "seed": 1})).await?;
    let indices: Vec<_> = many["choices"].as_array().context("choices")?.iter().map(|c| c["index"].clone()).collect();
    ensure!(indices == [0, 1, 2, 3].map(Value::from), "{many}");
    let ids = ask(json!({"model": MODEL, "prompt": [5, 6, 7], "max_tokens": 2, "echo": true})).await?;
    ensure!(ids["usage"]["prompt_tokens"] == 3, "{ids}");
    let body = json!({"model": MODEL, "prompt": prompt, "max_tokens": 8, "seed": 3, "echo": true, "stream": true});
    let streamed = chunks(&server.post("/v1/completions", &body).await?.text())?;
    let text: String = streamed.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    let whole = ask(json!({"model": MODEL, "prompt": prompt, "max_tokens": 8, "seed": 3, "echo": true})).await?;
    ensure!(whole["choices"][0]["text"] == text.as_str(), "{text}");
    Ok(())
}

#[tokio::test]
async fn two_streams_share_the_device_and_a_client_that_leaves_frees_it() -> Result<()> {
    let server = server().await?;
    // Greedy with a penalty against ending is not to be had: long answers, and the test looks at their beginnings.
    let body = |seed: u64| chat(json!({"stream": true, "max_tokens": 150, "seed": seed, "temperature": 1.5}));
    let begin = async |seed| {
        let answer = server.client().post(server.url("/v1/chat/completions")).json(&body(seed)).send().await?;
        anyhow::Ok(answer.bytes_stream())
    };
    let mut streams = Vec::new();
    for seed in 0..6 {
        streams.push(begin(seed).await?);
    }
    let active = async || -> Result<u64> {
        let info = server.get("/v1/hearth/system").await?.expect(200)?;
        info["active_generations"].as_u64().context("a number")
    };
    // Each stream gives something before any has to end.
    let firsts = futures::future::join_all(streams.iter_mut().map(StreamExt::next)).await;
    ensure!(firsts.iter().all(|first| matches!(first, Some(Ok(_)))));
    drop(streams);
    let started = std::time::Instant::now();
    while active().await? > 0 {
        ensure!(started.elapsed() < Duration::from_secs(3), "generations go on without their clients");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
