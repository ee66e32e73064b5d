//! The lab's engine: a model in a worker of the tab. It answers the calls of `hearth_shared::lab`; it knows no page.

#[cfg(target_arch = "wasm32")]
mod cache;
#[cfg(target_arch = "wasm32")]
mod check;
#[cfg(target_arch = "wasm32")]
mod desk;
#[cfg(target_arch = "wasm32")]
mod engine;
#[cfg(target_arch = "wasm32")]
mod fetch;
#[cfg(target_arch = "wasm32")]
mod inside;
#[cfg(target_arch = "wasm32")]
mod keep;
#[cfg(target_arch = "wasm32")]
#[path = "../../app/lab/lock.rs"]
mod lock;
#[cfg(target_arch = "wasm32")]
mod port;
#[cfg(target_arch = "wasm32")]
mod position;
#[cfg(target_arch = "wasm32")]
mod probe;
#[cfg(target_arch = "wasm32")]
mod quantize;
#[cfg(target_arch = "wasm32")]
mod sampling;
#[cfg(target_arch = "wasm32")]
mod traced;
#[cfg(target_arch = "wasm32")]
mod trial;
#[cfg(target_arch = "wasm32")]
#[path = "../../app/lab/wire.rs"]
mod wire;
#[cfg(target_arch = "wasm32")]
mod words;

/// The id of the sources this worker was built from; `dev` in a hand-made build, which then fits every page.
#[cfg(target_arch = "wasm32")]
const BUILD: Option<&str> = option_env!("HEARTH_BUILD_ID");

#[cfg(target_arch = "wasm32")]
unsafe extern "C" {
    /// Registers what crates collect before `main`: here the operations of the shader compiler. The linker provides it.
    safe fn __wasm_call_ctors();
}

#[cfg(target_arch = "wasm32")]
fn main() {
    use hearth_shared::lab::Event;

    // Where nobody calls it, the linker has every exported function do so, and JavaScript calls one for each object it hands over:
    // 6.7 of 10.4 s that a first pass on WebGPU kept the worker busy (docs/log.md).
    __wasm_call_ctors();
    // A panic ends this instance; its last words tell the page to start another.
    std::panic::set_hook(Box::new(|info| {
        console_error_panic_hook::hook(info);
        port::post(&Event::Crashed { message: info.to_string() }, &[]);
    }));
    let desk = desk::Desk::new();
    port::listen(move |call, buffers| desk.take(call, buffers));
    wasm_bindgen_futures::spawn_local(async {
        // Before the page hears of this worker, for then it asks who has the lock.
        lock::hold(&port::scope().name()).await;
        let webgpu = probe::webgpu().await;
        port::post(&Event::Ready { build_id: BUILD.unwrap_or("dev").to_owned(), webgpu }, &[]);
    });
}

#[cfg(not(target_arch = "wasm32"))]
fn main() {
    eprintln!("the lab's engine runs in a browser: build it for wasm32-unknown-unknown");
}
