//! From a shape, a spec and a device's data sheet to memory for each device, the time of a step and what bounds it. Times are what the
//! sheet allows at a given share of its peak: a plan, not a promise.

use serde::{Deserialize, Serialize};

use super::devices::DeviceSheet;
use super::kept::Format;
use super::{F32, Memory, ModelShape};
use crate::spec::TrainSpec;

/// How a run is spread over devices. The global batch stays the spec's.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Copies of the model, each with its part of the batch.
    pub data: u32,
    /// Devices that share each layer's matrices (Shoeybi 2019).
    pub tensor: u32,
    /// Groups of layers, one behind the other.
    pub pipeline: u32,
    /// Of ZeRO (Rajbhandari 2020): 1 shares out the optimizer's state among the copies, 2 gradients too, 3 weights too.
    pub zero: u8,
}

impl Layout {
    pub const SINGLE: Self = Self { data: 1, tensor: 1, pipeline: 1, zero: 0 };

    pub fn devices(self) -> u32 {
        self.data * self.tensor * self.pipeline
    }
}

/// Share of a large product's speed that a step of Hearth's own reaches on a CPU whose [`Pace`](super::pace::Pace) nobody has measured.
/// `cargo xtask bench planner` found medians of 0.64, 0.72 and 0.91 on its machines: this is between them.
pub const CPU_UTILISATION: f64 = 0.7;

/// Share of a data sheet's peak that well-tuned training reaches on GPUs: PaLM's 46 % (Chowdhery 2022, table 3) is among the highest
/// published, Llama 3's 38 to 43 % (Dubey 2024, table 4) usual.
pub const GPU_UTILISATION: f64 = 0.4;

/// What a step waits for most.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    Compute,
    Bandwidth,
    Communication,
}

/// One step of a run.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Of one device at its fullest.
    pub memory: Memory,
    /// All devices together.
    pub flops: f64,
    /// Bytes that one device moves between its memory and its units.
    pub traffic: f64,
    /// Bytes that one device sends.
    pub sent: f64,
    pub compute_seconds: f64,
    pub bandwidth_seconds: f64,
    pub communication_seconds: f64,
    /// The longer of computing and moving, stretched by the pipeline's idle ends, and then communication, not overlapped.
    pub seconds: f64,
    pub tokens_per_second: f64,
    pub bound: Bound,
}

/// Where the run takes place.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub device: &'a DeviceSheet,
    pub layout: Layout,
    /// Share of the sheet's peak that a step reaches.
    pub utilisation: f64,
    /// Whether 16 and 8 bits are stored as such; on a CPU they are emulated in f32.
    pub native: bool,
}

impl<'a> Place<'a> {
    /// With the share of the peak that it was seen to reach, else the usual one of such a device.
    pub fn usual(device: &'a DeviceSheet, layout: Layout) -> Self {
        let usual = if device.cpu { CPU_UTILISATION } else { GPU_UTILISATION };
        let utilisation = device.pace.map_or(usual, |pace| pace.utilisation);
        Self { device, layout, utilisation, native: !device.cpu }
    }

    /// The run of one copy of the model, with what `auto` is there.
    pub(super) fn own_part(&self, spec: &TrainSpec) -> TrainSpec {
        TrainSpec {
            batch_size: spec.batch_size.div_ceil(self.layout.data.max(1)),
            precision: self.device.precision(spec.precision),
            ..spec.clone()
        }
    }
}

impl ModelShape {
    /// Weights that a token goes through.
    pub fn active_parameters(&self) -> u64 {
        let idle = self.experts.saturating_sub(self.active_experts);
        let mlp = if self.gated { 3 } else { 2 } * self.d_model * self.ffn_dim;
        self.parameters.saturating_sub(self.moe_layers * idle * mlp)
    }

    /// Bytes of the keys and values of so many positions, in numbers of so many bytes.
    pub fn kv_cache(&self, positions: u64, bytes: f64) -> f64 {
        (2 * self.n_layers * self.kv_width * positions) as f64 * bytes
    }

    /// The most tokens a second one answer can have: every weight it uses, and the cache so far, is read once for each.
    pub fn decode_bound(&self, positions: u64, bytes: f64, bandwidth: f64) -> f64 {
        bandwidth / (self.active_parameters() as f64 * bytes + self.kv_cache(positions, bytes))
    }

    /// What one device holds at its fullest.
    pub fn memory_on(&self, spec: &TrainSpec, place: Place<'_>) -> Memory {
        self.spread(&place.own_part(spec), place.layout, place.native)
    }

    /// One step of `spec` with rows of `length` tokens.
    pub fn estimate(&self, spec: &TrainSpec, length: f64, place: Place<'_>) -> Estimate {
        let Place { device, layout, utilisation, native } = place;
        let [data, tensor, pipeline] = [layout.data, layout.tensor, layout.pipeline].map(|n| f64::from(n.max(1)));
        let tokens = f64::from(spec.batch_size) * length;
        let own = place.own_part(spec);
        let bytes = Format::of(own.precision, native).input() as f64;
        let memory = self.spread(&own, layout, native);
        let flops = self.step_flops(spec, length);
        let detours = device.pace.map_or(0.0, |pace| self.detours(spec, length, &pace));
        let products = flops / (device.peak(own.precision) * utilisation);
        let compute_seconds = (products + detours) / (data * tensor * pipeline);

        let own_tokens = tokens / data;
        let passes = (own_tokens / f64::from(own.micro_batch_tokens.max(own.max_length))).ceil().max(1.0);
        let part = tensor * pipeline;
        let (weights, trained) = (self.parameters as f64 / part, self.trained(spec) as f64 / part);
        // Forward, and backward for what comes in; for the weights themselves once more where they are trained.
        let reads = if spec.adapter.is_none() { 3.0 } else { 2.0 };
        let state = memory.optimizer as f64 / (F32 as f64 * trained).max(1.0);
        let update = trained * F32 as f64 * (3.0 + 2.0 * state);
        let traffic = passes * (reads * weights * bytes + 2.0 * memory.activations as f64) + update;
        let bandwidth_seconds = traffic / device.bandwidth;

        let sent = self.sent(layout, own_tokens, trained, bytes);
        let communication_seconds = if sent > 0.0 { sent / device.link } else { 0.0 };
        // The first and the last micro-batch leave stages idle (Huang 2019).
        let idle = (passes + pipeline - 1.0) / passes;
        let seconds = compute_seconds.max(bandwidth_seconds) * idle + communication_seconds;
        let bound = if communication_seconds > compute_seconds.max(bandwidth_seconds) {
            Bound::Communication
        } else if bandwidth_seconds > compute_seconds {
            Bound::Bandwidth
        } else {
            Bound::Compute
        };
        Estimate {
            memory,
            flops,
            traffic,
            sent,
            compute_seconds,
            bandwidth_seconds,
            communication_seconds,
            seconds,
            tokens_per_second: tokens / seconds,
            bound,
        }
    }

    /// Memory of one device of a layout, with masters in f32.
    fn spread(&self, spec: &TrainSpec, layout: Layout, native: bool) -> Memory {
        let whole = self.fullest(spec, Format::of(spec.precision, native));
        let [data, tensor, pipeline] = [layout.data, layout.tensor, layout.pipeline].map(|n| f64::from(n.max(1)));
        let part = tensor * pipeline;
        let among = |stage: u8| if layout.zero >= stage { data } else { 1.0 };
        let of = |n: u64, share: f64| (n as f64 / share) as u64;
        // Each group of layers holds the activations of as many micro-batches as there are groups.
        let memory = Memory {
            weights: of(whole.weights, part * among(3)),
            gradients: of(whole.gradients, part * among(2)),
            optimizer: of(whole.optimizer, part * among(1)),
            activations: of(whole.activations, tensor),
            temporary: of(whole.temporary, tensor),
            // On a device with memory of its own, the copy is made on the host.
            checkpoint: if native { 0 } else { of(whole.checkpoint, part * among(1)) },
            total: 0,
        };
        memory.summed()
    }

    /// Bytes that one device sends in a step, by rings.
    fn sent(&self, layout: Layout, own_tokens: f64, trained: f64, bytes: f64) -> f64 {
        let [data, tensor, pipeline] = [layout.data, layout.tensor, layout.pipeline].map(|n| f64::from(n.max(1)));
        let around = |n: f64| (n - 1.0) / n;
        // Gradients are summed; ZeRO 3 gathers the weights twice besides, and sums to the owner only.
        let gradients = if layout.zero >= 3 { 3.0 } else { 2.0 } * around(data) * trained * bytes;
        // Two sums forward and two backward in each layer, of what one token carries.
        let layers = self.n_layers as f64 / pipeline;
        let sums = 4.0 * 2.0 * around(tensor) * layers * own_tokens * self.d_model as f64 * bytes;
        let handed = if pipeline > 1.0 { 2.0 * own_tokens * self.d_model as f64 * bytes } else { 0.0 };
        gradients + sums + handed
    }
}

#[cfg(test)]
mod tests {
    use super::super::devices::sheets;
    use super::super::tests::smollm2;
    use super::*;
    use crate::spec::{ArchitectureSpec, Auto, Precision, Preset};

    fn full() -> TrainSpec {
        TrainSpec { adapter: None, batch_size: 64, micro_batch_tokens: 8192, ..TrainSpec::default() }
    }

    fn h100() -> DeviceSheet {
        sheets().into_iter().find(|sheet| sheet.name.starts_with("H100")).unwrap_or_else(|| panic!("no H100"))
    }

    fn on(device: &DeviceSheet, layout: Layout) -> Place<'_> {
        Place::usual(device, layout)
    }

    /// ZeRO's table 1: 7.5 B parameters with Adam in mixed precision on 64 devices. The paper keeps 16-bit gradients and counts weights,
    /// gradients and states only; here gradients are 4 bytes: 18 a parameter instead of 16.
    #[test]
    fn zero_shares_out_what_the_paper_says() {
        let spec = TrainSpec { precision: Precision::Bf16, ..full() };
        let shape = ModelShape { parameters: 7_500_000_000, ..smollm2() };
        let states = |zero| {
            let memory = shape.estimate(&spec, 1024.0, on(&h100(), Layout { data: 64, zero, ..Layout::SINGLE })).memory;
            (memory.weights + memory.gradients + memory.optimizer) as f64 / 1e9
        };
        let close = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 0.02, "{a} is not {b}");
        close(states(0), 7.5 * 18.0);
        close(states(1), 7.5 * (10.0 + 8.0 / 64.0));
        close(states(2), 7.5 * (6.0 + 12.0 / 64.0));
        close(states(3), 7.5 * 18.0 / 64.0);
    }

    #[test]
    fn more_devices_are_faster_and_never_for_nothing() {
        let (shape, device, spec) = (smollm2(), h100(), full());
        let time = |layout| shape.estimate(&spec, 1024.0, on(&device, layout));
        let one = time(Layout::SINGLE);
        let eight = time(Layout { data: 8, ..Layout::SINGLE });
        assert!(eight.seconds < one.seconds && eight.seconds > one.seconds / 8.0);
        assert_eq!((one.sent, one.flops), (0.0, eight.flops));
        let split = time(Layout { tensor: 4, pipeline: 2, ..Layout::SINGLE });
        assert!(split.memory.weights < one.memory.weights / 7 && split.sent > 0.0);
        // A single row on so fast a device waits for its weights.
        let tiny = TrainSpec { batch_size: 1, max_length: 16, ..spec.clone() };
        assert_eq!(shape.estimate(&tiny, 16.0, on(&device, Layout::SINGLE)).bound, Bound::Bandwidth);
        let exact = TrainSpec { precision: Precision::F32, ..spec.clone() };
        assert_eq!(shape.estimate(&exact, 1024.0, on(&device, Layout::SINGLE)).bound, Bound::Compute);
    }

    /// `auto` is planned as what the engine makes of it on the device.
    #[test]
    fn auto_is_planned_as_bf16_on_a_card() {
        let (shape, device, spec) = (smollm2(), h100(), full());
        let of = |precision| {
            let spec = TrainSpec { precision, ..spec.clone() };
            shape.estimate(&spec, 1024.0, on(&device, Layout::SINGLE))
        };
        assert_eq!(of(Precision::Auto), of(Precision::Bf16));
        assert!(of(Precision::F32).memory.activations > of(Precision::Bf16).memory.activations);
    }

    /// Llama 2 70B's cache in f16: 2 · 80 layers · 8 heads · 128 · 2 bytes a position.
    #[test]
    fn a_cache_is_counted_by_hand() {
        let spec = ArchitectureSpec {
            preset: Preset::Llama,
            depth: 80,
            d_model: Auto::Value(8192),
            n_heads: Auto::Value(64),
            kv_heads: Auto::Value(8),
            ffn_dim: Auto::Value(28_672),
            ..ArchitectureSpec::default()
        };
        let shape = spec.shape(32_000).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(shape.kv_cache(1, 2.0), 327_680.0);
        // Its published size is 69 B with an untied head of 0.26 B, which this preset does not have.
        assert!((shape.parameters as f64 / 68.7e9 - 1.0).abs() < 0.01, "{}", shape.parameters);
        let mixture = ArchitectureSpec { preset: Preset::Moe, depth: 8, ..ArchitectureSpec::default() };
        let mixture = mixture.shape(1000).unwrap_or_else(|error| panic!("{error}"));
        assert!(mixture.active_parameters() < mixture.parameters / 2);
        // Every second of the eight layers leaves six of its eight experts alone, each of three matrices.
        let alternating =
            ArchitectureSpec { preset: Preset::Moe, depth: 8, moe_every: 2, ..ArchitectureSpec::default() };
        let alternating = alternating.shape(1000).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(alternating.parameters - alternating.active_parameters(), 4 * 6 * 3 * 512 * 1376);
        assert_eq!(shape.active_parameters(), shape.parameters);
    }
}
