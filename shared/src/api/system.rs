//! What is on this machine: `/v1/hearth/system`, and the plain answers of `/healthz` and `/readyz`.

use serde::{Deserialize, Serialize};

/// `GET /v1/hearth/system`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SystemInfo {
    /// The program's version.
    pub version: String,
    /// The build id of page, worker and server; the page reloads where it differs from its own.
    pub build: Option<String>,
    pub device: DeviceInfo,
    pub memory: MemoryInfo,
    /// Free bytes on the data directory's disk.
    pub disk_available: Option<u64>,
    pub models: u64,
    pub loaded_models: Vec<String>,
    pub active_generations: u64,
    pub jobs_running: u64,
    pub jobs_queued: u64,
    pub uptime_seconds: u64,
    /// The most bytes of one upload.
    pub max_upload_bytes: u64,
}

/// The device that tensors live on.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceInfo {
    pub name: String,
    pub kind: DeviceKind,
    /// Threads that compute at once; 1 in a browser tab.
    pub threads: usize,
    /// Bytes; none where the platform does not tell.
    pub memory_total: Option<u64>,
    pub memory_available: Option<u64>,
}

/// What kind of hardware it is.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    Cpu,
    Webgpu,
    Vulkan,
    Cuda,
}

/// Bytes of the machine and of this process.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MemoryInfo {
    pub total: Option<u64>,
    pub available: Option<u64>,
    /// Resident bytes of the server.
    pub process: Option<u64>,
}

/// `/healthz` and `/readyz`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// `ok`, or `draining` while the server shuts down.
    pub status: String,
}
