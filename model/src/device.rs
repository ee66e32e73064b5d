//! Where tensors live: the only file that names a burn backend and the only one that probes hardware.

pub use burn::tensor::Device;
pub use hearth_shared::api::system::{DeviceInfo, DeviceKind};

/// The CPU backend whose raw memory `kernels` may touch.
pub(crate) type CpuBackend = burn::backend::Flex;
/// The same with a gradient tape around it.
pub(crate) type CpuAutodiff = burn::backend::Autodiff<burn::backend::Flex>;

/// No device of the wanted kind could be opened.
#[derive(thiserror::Error, Debug)]
#[error("no {wanted} device: {reason}")]
pub struct DeviceError {
    pub wanted: &'static str,
    pub reason: String,
}

/// The CPU, always there.
pub fn cpu() -> Device {
    Device::flex()
}

/// The fastest device this build and this machine have: CUDA, then Vulkan, then the CPU.
///
/// `HEARTH_DEVICE` (`cpu`, `cuda`, `vulkan`) overrides the probe.
pub fn best() -> Device {
    let wanted = std::env::var("HEARTH_DEVICE").unwrap_or_default();
    #[cfg(all(feature = "cuda", not(target_arch = "wasm32")))]
    if (wanted.is_empty() || wanted == "cuda") && has_cuda() {
        return Device::cuda(0usize);
    }
    #[cfg(all(feature = "vulkan", not(target_arch = "wasm32")))]
    if (wanted.is_empty() || wanted == "vulkan") && has_vulkan() {
        return vulkan_device();
    }
    if !["", "cpu"].contains(&wanted.as_str()) {
        eprintln!(
            "HEARTH_DEVICE={wanted} is not to be had here (this machine or this build lacks it): computing on the CPU"
        );
    }
    cpu()
}

/// Opens a GPU through the browser's WebGPU. Once per worker: every call opens another.
///
/// # Errors
/// The browser has none, or refuses it (an insecure context, a blocked adapter).
#[cfg(target_arch = "wasm32")]
pub async fn webgpu() -> Result<Device, DeviceError> {
    Device::wgpu_options()
        .graphics_api(burn::tensor::wgpu::WgpuBackend::WebGpu)
        .init_async()
        .await
        .map_err(|error| DeviceError { wanted: "WebGPU", reason: format!("{error:?}") })
}

/// Whether the kernels for the CPU apply to tensors of this device.
pub fn is_cpu(device: &Device) -> bool {
    kind(device) == DeviceKind::Cpu
}

/// Whether numbers of a tensor there can be read without waiting on an event loop, which a page's worker has no way to block on.
pub fn reads_at_once(device: &Device) -> bool {
    is_cpu(device) || !cfg!(target_arch = "wasm32")
}

/// Lets this process keep the memory it has freed, for work that allocates the same tensors step after step: a fifth of a
/// training step on the CPU was the system handing out cleared pages. For processes that do nothing else, as what was
/// once needed is never given back. Does nothing where the allocator isn't glibc's.
pub fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const TRIM_THRESHOLD: i32 = -1;
        const MMAP_MAX: i32 = -4;
        mallopt(MMAP_MAX, 0);
        mallopt(TRIM_THRESHOLD, i32::MAX);
    }
    one_heap();
}

/// Lets all threads of this process allocate from one heap. Otherwise each that works keeps freed tensors in a heap of its own,
/// where no other can use them: twice the memory of a step, and no faster, as tensors are few and large. To be called before
/// the first thread starts; does nothing where the allocator isn't glibc's.
pub fn one_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const ARENA_MAX: i32 = -8;
        mallopt(ARENA_MAX, 1);
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
unsafe extern "C" {
    safe fn mallopt(parameter: i32, value: i32) -> i32;
    safe fn malloc_trim(keep: usize) -> i32;
}

/// Gives freed memory back to the system, between two works of a process that need different amounts. Does nothing where the
/// allocator isn't glibc's.
pub fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    malloc_trim(0);
}

/// What the device is.
pub fn info(device: &Device) -> DeviceInfo {
    let kind = kind(device);
    let (memory_total, memory_available) = memory(kind);
    DeviceInfo {
        name: match kind {
            DeviceKind::Cpu => cpu_name(),
            DeviceKind::Cuda => cuda_name().unwrap_or_else(|| format!("{device:?}")),
            _ => format!("{device:?}"),
        },
        kind,
        threads: match kind {
            DeviceKind::Cpu => threads(),
            _ => 1,
        },
        memory_total,
        memory_available,
    }
}

pub(crate) fn kind(device: &Device) -> DeviceKind {
    kind_of(device.as_dispatch())
}

fn kind_of(device: &burn::backend::DispatchDevice) -> DeviceKind {
    use burn::backend::DispatchDevice;
    match device {
        DispatchDevice::Flex(_) => DeviceKind::Cpu,
        DispatchDevice::Autodiff(inner) => kind_of(inner),
        #[cfg(any(feature = "cuda", feature = "vulkan", target_arch = "wasm32"))]
        _ if cfg!(target_arch = "wasm32") => DeviceKind::Webgpu,
        #[cfg(any(feature = "cuda", feature = "vulkan", target_arch = "wasm32"))]
        other if format!("{other:?}").contains("Cuda") => DeviceKind::Cuda,
        #[cfg(any(feature = "cuda", feature = "vulkan", target_arch = "wasm32"))]
        _ => DeviceKind::Vulkan,
    }
}

/// Does `work` on a thread of the CPU kernels' own pool, with the pool's other threads kept awake. A pass is hundreds of small
/// products: from any other thread each would be handed over and waited for, and a thread that fell asleep between two of them
/// costs a wake-up; together that was a fifth of the time of a decoded token.
///
/// Other devices order their work by the thread it comes from, so there `work` stays where it is.
pub fn compute<R: Send>(device: &Device, work: impl FnOnce() -> R + Send) -> R {
    #[cfg(not(target_arch = "wasm32"))]
    if kind(device) == DeviceKind::Cpu {
        return awake(work);
    }
    let _ = device;
    work()
}

#[cfg(not(target_arch = "wasm32"))]
fn awake<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    use std::sync::atomic::{AtomicBool, Ordering};
    /// Says so even when the work panics.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let done = &AtomicBool::new(false);
    rayon::scope(|scope| {
        let here = rayon::current_thread_index();
        scope.spawn_broadcast(move |_, at| {
            // The thread that works gets this too, whenever it waits for the others.
            while Some(at.index()) != here && !done.load(Ordering::Acquire) {
                if rayon::yield_now() != Some(rayon::Yield::Executed) {
                    std::thread::yield_now();
                }
            }
        });
        let _done = Done(done);
        work()
    })
}

/// Floating point operations a second that the device reaches in a large product of matrices, of bf16 on a CUDA device (where `auto`
/// trains in it), else of f32; measured, on a CPU in a few hundredths of a second. 0 where products come out wrong.
#[cfg(not(target_arch = "wasm32"))]
pub fn speed(device: &Device) -> f64 {
    use burn::tensor::FloatDType::{BF16, F32};
    let formats: &[_] = if kind(device) == DeviceKind::Cuda { &[BF16, F32] } else { &[F32] };
    formats.iter().find_map(|format| product_speed(device, *format)).unwrap_or(0.0)
}

#[cfg(not(target_arch = "wasm32"))]
fn product_speed(device: &Device, format: burn::tensor::FloatDType) -> Option<f64> {
    /// A product that takes less says more of the way to the device than of the device: then a larger one is taken.
    const LEAST_SECONDS: f64 = 1e-3;
    let rate = |size: usize, seconds: f64| 2.0 * (size as f64).powi(3) / seconds;
    let [small, large] = [1024, 8192];
    let seconds = product_seconds(device, format, small)?;
    if is_cpu(device) || seconds >= LEAST_SECONDS {
        return Some(rate(small, seconds));
    }
    Some(rate(large, product_seconds(device, format, large)?))
}

/// The best of four. None where the product comes out wrong: a kernel that does not run is fast.
#[cfg(not(target_arch = "wasm32"))]
fn product_seconds(device: &Device, format: burn::tensor::FloatDType, size: usize) -> Option<f64> {
    use burn::tensor::{Distribution, FloatDType, Tensor};
    let x = Tensor::<3>::random([1, size, size], Distribution::Default, device).cast(format);
    let w = Tensor::<2>::random([size, size], Distribution::Default, device).cast(format);
    let once = || {
        let started = std::time::Instant::now();
        let y = crate::kernels::linear(x.clone(), w.clone(), None).narrow(1, size - 1, 1).narrow(2, size - 1, 1);
        // Reading one number waits for all.
        let value = crate::projection::floats(y.cast(FloatDType::F32).into_data())[0];
        device.sync().ok()?;
        // Of `size` products of two numbers between 0 and 1.
        ((value / size as f32 - 0.25).abs() < 0.05).then(|| started.elapsed().as_secs_f64())
    };
    let times: Option<Vec<f64>> = compute(device, || (0..4).map(|_| once()).collect());
    Some(times?.into_iter().fold(f64::INFINITY, f64::min))
}

/// Bytes a second that all threads together read from memory: measured over more than any cache holds.
#[cfg(not(target_arch = "wasm32"))]
pub fn bandwidth() -> f64 {
    use rayon::prelude::*;
    const WORDS: usize = 1 << 24;
    let words = vec![1u64; WORDS];
    let part = WORDS.div_ceil(rayon::current_num_threads());
    let once = || {
        let started = std::time::Instant::now();
        let sum: u64 =
            words.par_chunks(part).map(|chunk| chunk.iter().fold(0u64, |sum, word| sum.wrapping_add(*word))).sum();
        std::hint::black_box(sum);
        started.elapsed().as_secs_f64()
    };
    let best = (0..3).map(|_| once()).fold(f64::INFINITY, f64::min);
    (WORDS * size_of::<u64>()) as f64 / best
}

/// Worker threads of the CPU kernels.
pub fn threads() -> usize {
    #[cfg(not(target_arch = "wasm32"))]
    {
        rayon::current_num_threads()
    }
    #[cfg(target_arch = "wasm32")]
    {
        1
    }
}

fn cpu_name() -> String {
    proc_field("/proc/cpuinfo", "model name").unwrap_or_else(|| "CPU".to_owned())
}

/// The first card's, as the driver writes it below /proc.
fn cuda_name() -> Option<String> {
    let card = std::fs::read_dir("/proc/driver/nvidia/gpus").ok()?.flatten().map(|entry| entry.path()).min()?;
    proc_field(card.join("information").to_str()?, "Model")
}

fn memory(kind: DeviceKind) -> (Option<u64>, Option<u64>) {
    if kind != DeviceKind::Cpu {
        return (None, None);
    }
    let kib = |field| {
        let text = proc_field("/proc/meminfo", field)?;
        Some(text.strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
    };
    (kib("MemTotal"), kib("MemAvailable"))
}

/// One `name : value` line of a file under /proc; none on other systems.
fn proc_field(path: &str, field: &str) -> Option<String> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == field).then(|| value.trim().to_owned())
    })
}

/// burn panics when it is asked for a CUDA device without a driver, so look for the driver's library first.
#[cfg(all(feature = "cuda", not(target_arch = "wasm32")))]
fn has_cuda() -> bool {
    std::path::Path::new("/dev/nvidia0").exists() || std::path::Path::new("/dev/dxg").exists()
}

#[cfg(all(feature = "vulkan", not(target_arch = "wasm32")))]
fn has_vulkan() -> bool {
    std::panic::catch_unwind(|| drop(vulkan_device())).is_ok()
}

#[cfg(all(feature = "vulkan", not(target_arch = "wasm32")))]
fn vulkan_device() -> Device {
    Device::vulkan(burn::tensor::DeviceKind::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_describes_itself() {
        let info = info(&cpu());
        assert_eq!(info.kind, DeviceKind::Cpu);
        assert!(info.threads >= 1);
        assert!(speed(&cpu()) > 1e8);
        if cfg!(target_os = "linux") {
            assert!(info.memory_total > info.memory_available);
        }
    }

    #[test]
    fn autodiff_does_not_change_the_hardware() {
        assert!(is_cpu(&cpu().autodiff()));
    }
}
