//! What the machine has: memory of machine and process, room on the disk. Read from `/proc` where there is one.

use std::path::Path;

use hearth_shared::api::system::MemoryInfo;

pub fn memory() -> MemoryInfo {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    MemoryInfo {
        total: kilobytes(&meminfo, "MemTotal:"),
        available: kilobytes(&meminfo, "MemAvailable:"),
        process: kilobytes(&status, "VmRSS:"),
    }
}

/// Free bytes on the disk of `path`.
pub fn disk_available(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail * stat.f_frsize)
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_lines_are_kilobytes() {
        assert_eq!(kilobytes("MemTotal:  12 kB\nX: 1\n", "MemTotal:"), Some(12 * 1024));
        assert_eq!(kilobytes("", "MemTotal:"), None);
    }
}
