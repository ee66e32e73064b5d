"""The story of a fine-tune, told with OpenAI's own Python client. Run: openai_client.py http://127.0.0.1:8420/v1"""

import json
import sys
import time

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="any", max_retries=0)
MODEL = "hearth-nano"


def refused(kind, code, param, call):
    """The call must raise the client's own error type with these fields."""
    try:
        call()
    except kind as error:
        assert error.code == code, (error.code, code, error)
        assert error.param == param, (error.param, param, error)
        assert error.request_id, "no x-request-id"
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def chats(count):
    for n in range(count):
        yield {"messages": [{"role": "user", "content": f"Number {n}?"}, {"role": "assistant", "content": f"It is {n}."}]}


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def step(name):
    print(name, flush=True)


step("models")
assert MODEL in [model.id for model in client.models.list()]
assert client.models.retrieve(MODEL).object == "model"
refused(openai.NotFoundError, "model_not_found", "model", lambda: client.models.retrieve("nobody"))

step("chat")
question = [{"role": "user", "content": "Hello"}]
answer = client.chat.completions.create(model=MODEL, messages=question, max_tokens=8, seed=1, logprobs=True, top_logprobs=2)
assert answer.choices[0].finish_reason in ("stop", "length")
assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
assert all(len(token.top_logprobs) == 2 for token in answer.choices[0].logprobs.content)
stream = client.chat.completions.create(
    model=MODEL, messages=question, max_tokens=8, seed=1, stream=True, stream_options={"include_usage": True}
)
chunks = list(stream)
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert text == answer.choices[0].message.content, (text, answer)
assert chunks[-1].usage == answer.usage, chunks[-1]
refused(openai.NotFoundError, "model_not_found", "model", lambda: client.chat.completions.create(model="nobody", messages=question))
refused(
    openai.BadRequestError, "context_length_exceeded", "messages",
    lambda: client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 20000}]),
)
refused(
    openai.BadRequestError, "unsupported_parameter", "tools",
    lambda: client.chat.completions.create(
        model=MODEL, messages=question, tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}]
    ),
)

step("completions")
scored = client.completions.create(model=MODEL, prompt="One two", echo=True, logprobs=1, max_tokens=0)
assert scored.choices[0].text == "One two"
assert scored.choices[0].logprobs.token_logprobs[0] is None

step("files")
training = client.files.create(file=("chats.jsonl", jsonl(chats(20))), purpose="fine-tune")
assert client.files.retrieve(training.id) == training
assert client.files.content(training.id).read() == jsonl(chats(20))
others = [client.files.create(file=(f"{n}.jsonl", b"{}"), purpose="fine-tune").id for n in range(3)]
listed = [file.id for file in client.files.list(limit=2)]
assert listed[:4] == [*reversed(others), training.id], "pages lose or repeat files"
for other in others:
    assert client.files.delete(other).deleted
refused(openai.NotFoundError, "file_not_found", "id", lambda: client.files.retrieve(others[0]))

step("jobs")
jobs = client.fine_tuning.jobs
refused(
    openai.BadRequestError, "file_not_found", "training_file", lambda: jobs.create(model=MODEL, training_file=others[0])
)
job = jobs.create(
    model=MODEL,
    training_file=training.id,
    suffix="client",
    seed=3,
    metadata={"by": "conformance"},
    method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}}},
    extra_body={"hearth": {"lora": {"r": 4, "alpha": 8}, "checkpoint_every": 5}},
)
assert job.object == "fine_tuning.job" and job.metadata == {"by": "conformance"}
second = jobs.create(model=MODEL, training_file=training.id, hyperparameters={"n_epochs": 50})
assert jobs.cancel(second.id).status == "cancelled"
assert [row.id for row in jobs.list(limit=1)] == [second.id, job.id]

seen = []
deadline = time.time() + 600
while True:
    status = jobs.retrieve(job.id).status
    page = [event.id for event in jobs.list_events(job.id, limit=7)]
    assert page[len(page) - len(seen):] == seen, "events changed"
    seen = page
    if status in ("succeeded", "failed", "cancelled"):
        break
    assert time.time() < deadline, status
    time.sleep(0.3)
job = jobs.retrieve(job.id)
assert job.status == "succeeded", job
assert job.hyperparameters.n_epochs == 2 and job.hyperparameters.learning_rate_multiplier != "auto"
events = list(jobs.list_events(job.id))
assert len({event.id for event in events}) == len(events) and {event.type for event in events} == {"message", "metrics"}
checkpoints = list(jobs.checkpoints.list(job.id))
assert [checkpoint.step_number for checkpoint in checkpoints] == [10, 5], checkpoints
assert checkpoints[0].metrics.train_loss is not None
csv = client.files.content(job.result_files[0]).read().decode()
assert csv.startswith("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,")
refused(openai.NotFoundError, "fine_tune_not_found", "fine_tuning_job_id", lambda: jobs.retrieve("ftjob-nothing"))

step("the tuned model")
answer = client.chat.completions.create(model=job.fine_tuned_model, messages=question, max_tokens=8)
assert answer.model == job.fine_tuned_model
assert client.models.retrieve(job.fine_tuned_model).owned_by
assert client.models.delete(job.fine_tuned_model).deleted
refused(openai.NotFoundError, "model_not_found", "model", lambda: client.models.retrieve(job.fine_tuned_model))
print("conforms")
