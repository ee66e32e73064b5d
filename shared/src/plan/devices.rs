//! Real devices by their makers' data sheets: what a plan can promise at most. Nothing here was measured by Hearth.

use serde::{Deserialize, Serialize};

use super::pace::Pace;
use crate::spec::Precision;

/// A device as its data sheet has it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceSheet {
    pub name: String,
    /// Bytes.
    pub memory: f64,
    /// Bytes a second between memory and the units that compute.
    pub bandwidth: f64,
    /// Dense floating point operations a second, accumulated in f32.
    pub f32: f64,
    /// The same in bf16 and f16; as f32 where the units have no faster way.
    pub half: f64,
    /// In fp8; as `half` where there are no such units.
    pub fp8: f64,
    /// Bytes a second to another such device.
    pub link: f64,
    /// Narrow formats are emulated in f32, which takes more of time and memory.
    pub cpu: bool,
    /// Products in bf16 are its own, and `auto` takes them: trained on through CUDA.
    #[serde(default)]
    pub own_bf16: bool,
    /// How it was seen to train, where somebody looked.
    #[serde(default)]
    pub pace: Option<Pace>,
}

impl DeviceSheet {
    /// Operations a second at a precision.
    pub fn peak(&self, precision: Precision) -> f64 {
        match self.precision(precision) {
            Precision::F32 | Precision::Auto => self.f32,
            Precision::Bf16 | Precision::F16 => self.half,
            Precision::Fp8 => self.fp8,
        }
    }

    /// What the engine makes of `auto` here: bf16 through CUDA, else f32.
    pub fn precision(&self, asked: Precision) -> Precision {
        match asked {
            Precision::Auto if self.own_bf16 => Precision::Bf16,
            Precision::Auto => Precision::F32,
            asked => asked,
        }
    }

    /// A machine's own device by what was measured there: its product speed in f32, and what its memory delivers. To others it is
    /// linked by gigabit Ethernet, times ten.
    pub fn measured(name: &str, memory: f64, flops: f64, bandwidth: f64) -> Self {
        Self {
            name: name.to_owned(),
            memory,
            bandwidth,
            f32: flops,
            half: flops,
            fp8: flops,
            link: 1.25e9,
            cpu: true,
            own_bf16: false,
            pace: None,
        }
    }
}

/// Name; memory in GB; bandwidth in GB/s; f32, half and fp8 in TFLOP/s; link in GB/s one way.
type Sheet = (&'static str, f64, f64, [f64; 3], f64);

/// NVIDIA: the data sheets of A100, H100 SXM, H200 SXM (NVLink 3 and 4; figures without sparsity) and the Ada whitepaper (appendix A; PCIe 4).
/// Apple: its announcements of M1 Max and M2 Ultra. CPU: 8 cores with two 256-bit multiply-adds a cycle at 3 GHz, two channels of DDR4-3200.
const SHEETS: [Sheet; 8] = [
    ("A100 40 GB", 40.0, 1555.0, [19.5, 312.0, 312.0], 300.0),
    ("A100 80 GB", 80.0, 2039.0, [19.5, 312.0, 312.0], 300.0),
    ("H100 80 GB", 80.0, 3350.0, [67.0, 989.4, 1978.9], 450.0),
    ("H200 141 GB", 141.0, 4800.0, [67.0, 989.4, 1978.9], 450.0),
    ("RTX 4090 24 GB", 24.0, 1008.0, [82.6, 165.2, 330.3], 32.0),
    ("Apple M1 Max 64 GB", 64.0, 400.0, [10.4, 10.4, 10.4], 5.0),
    ("Apple M2 Ultra 192 GB", 192.0, 800.0, [27.2, 27.2, 27.2], 5.0),
    ("CPU, 8 cores, AVX2", 64.0, 51.2, [0.768, 0.768, 0.768], 1.25),
];

/// The table.
pub fn sheets() -> Vec<DeviceSheet> {
    let sheet = |(name, memory, bandwidth, [f32, half, fp8], link): &Sheet| DeviceSheet {
        name: (*name).to_owned(),
        memory: memory * 1e9,
        bandwidth: bandwidth * 1e9,
        f32: f32 * 1e12,
        half: half * 1e12,
        fp8: fp8 * 1e12,
        link: link * 1e9,
        cpu: name.starts_with("CPU"),
        own_bf16: !["CPU", "Apple"].iter().any(|other| name.starts_with(other)),
        pace: None,
    };
    SHEETS.iter().map(sheet).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `Rounding::on` decides it.
    #[test]
    fn auto_is_bf16_through_cuda_only() {
        let of = |start: &str| {
            let sheet = sheets().into_iter().find(|sheet| sheet.name.starts_with(start));
            sheet.unwrap_or_else(|| panic!("no {start}"))
        };
        let (card, apple, cpu) = (of("RTX 4090"), of("Apple M1"), of("CPU"));
        assert_eq!(card.precision(Precision::Auto), Precision::Bf16);
        assert_eq!([&apple, &cpu].map(|sheet| sheet.precision(Precision::Auto)), [Precision::F32; 2]);
        assert_eq!(card.precision(Precision::F32), Precision::F32);
        assert_eq!((card.peak(Precision::Auto), card.peak(Precision::F32)), (card.half, card.f32));
        assert!(!DeviceSheet::measured("this", 1.0, 1.0, 1.0).own_bf16);
    }
}
