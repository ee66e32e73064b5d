//! What the browser offers: WebGPU and its adapter, memory, storage. It opens nothing.

use hearth_shared::lab::{Adapter, WebGpu};
use js_sys::{Function, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use crate::port::scope;

fn field(object: &JsValue, name: &str) -> Option<JsValue> {
    let value = Reflect::get(object, &name.into()).ok()?;
    (!value.is_undefined() && !value.is_null()).then_some(value)
}

fn text(object: &JsValue, name: &str) -> String {
    field(object, name).and_then(|value| value.as_string()).unwrap_or_default()
}

/// Asks for an adapter and describes it. web-sys has these types only behind its unstable flag, hence by name.
pub async fn webgpu() -> WebGpu {
    let navigator: JsValue = scope().navigator().into();
    let Some(gpu) = field(&navigator, "gpu") else {
        return WebGpu::Missing { secure_context: scope().is_secure_context() };
    };
    match adapter(&gpu).await {
        Some(adapter) => WebGpu::Adapter(adapter),
        None => WebGpu::NoAdapter,
    }
}

async fn adapter(gpu: &JsValue) -> Option<Adapter> {
    let request: Function = field(gpu, "requestAdapter")?.dyn_into().ok()?;
    let promise: Promise = request.call0(gpu).ok()?.dyn_into().ok()?;
    let adapter = JsFuture::from(promise).await.ok()?;
    let info = field(&adapter, "info")?;
    let fallback = [&info, &adapter]
        .into_iter()
        .filter_map(|object| field(object, "isFallbackAdapter"))
        .any(|flag| flag.is_truthy());
    let architecture = text(&info, "architecture");
    let description = text(&info, "description");
    let names_software = ["swiftshader", "llvmpipe", "warp", "basic render"]
        .iter()
        .any(|name| architecture.to_lowercase().contains(name) || description.to_lowercase().contains(name));
    Some(Adapter { vendor: text(&info, "vendor"), architecture, description, software: fallback || names_software })
}

/// Memory of the machine in bytes as the browser tells it (rounded, and capped by most).
pub fn device_memory() -> Option<u64> {
    let navigator: JsValue = scope().navigator().into();
    let gibibytes = field(&navigator, "deviceMemory")?.as_f64()?;
    Some((gibibytes * f64::from(1u32 << 30)) as u64)
}

/// Bytes this address may still store; none where the browser does not tell.
pub async fn free_storage() -> Option<u64> {
    let estimate = scope().navigator().storage().estimate().ok()?;
    let estimate = JsFuture::from(estimate).await.ok()?;
    let quota = field(&estimate, "quota")?.as_f64()?;
    let usage = field(&estimate, "usage")?.as_f64()?;
    Some((quota - usage).max(0.0) as u64)
}
