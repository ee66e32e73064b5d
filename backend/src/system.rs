//! What the machine has: memory of machine and process, room on the disk. Read from `/proc` where there is one, and from the control
//! group, which may leave this process less than the machine has.

use std::path::Path;

use hearth_shared::api::system::MemoryInfo;

pub fn memory() -> MemoryInfo {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group(&groups, Path::new("/sys/fs/cgroup"));
    MemoryInfo {
        total: smaller(kilobytes(&meminfo, "MemTotal:"), group.map(|group| group.limit)),
        available: smaller(kilobytes(&meminfo, "MemAvailable:"), group.map(|group| group.left)),
        process: kilobytes(&status, "VmRSS:"),
    }
}

/// The most bytes this process ever held, or since [`forget_peak`].
pub fn peak() -> Option<u64> {
    kilobytes(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Lets [`peak`] begin again from what the process holds now. Does nothing where the system has no such notion.
pub fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn smaller(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}

/// What a control group allows, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Group {
    limit: u64,
    left: u64,
}

/// The tightest of the groups that this process is in; `list` is its `/proc/self/cgroup`.
fn group(list: &str, root: &Path) -> Option<Group> {
    let own = |prefix: &str| list.lines().find_map(|line| line.split_once(prefix).map(|(_, path)| path));
    let first = if let Some(path) = own(":memory:") {
        tightest(&root.join("memory"), path, ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"])
    } else {
        None
    };
    first.or_else(|| tightest(root, own("0::")?, ["memory.max", "memory.current", "inactive_file"]))
}

/// From the group `path` up to the root: names of the limit, of what is used, and of what the system can take back of that.
fn tightest(root: &Path, path: &str, [limit, used, idle]: [&str; 3]) -> Option<Group> {
    let number = |file: &Path| std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    // In a container the path may be the host's; the root is then the group itself.
    let own = root.join(path.trim_start_matches('/'));
    let levels = own.ancestors().take_while(|level| level.starts_with(root));
    let groups = levels.filter_map(|level| {
        let limit = number(&level.join(limit))?;
        let stat = std::fs::read_to_string(level.join("memory.stat")).unwrap_or_default();
        let idle = stat.lines().find_map(|line| line.strip_prefix(idle)?.trim().parse::<u64>().ok()).unwrap_or(0);
        let used = number(&level.join(used)).unwrap_or(0).saturating_sub(idle);
        Some(Group { limit, left: limit.saturating_sub(used) })
    });
    groups.reduce(|a, b| Group { limit: a.limit.min(b.limit), left: a.left.min(b.left) })
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

    #[test]
    fn the_tightest_group_counts() {
        let write = |folder: &Path, files: &[(&str, &str)]| {
            std::fs::create_dir_all(folder).expect("a folder");
            files.iter().for_each(|(name, text)| std::fs::write(folder.join(name), text).expect("a file"));
        };
        let dir = tempfile::tempdir().expect("a folder");
        write(&dir.path().join("a/b"), &[("memory.max", "max\n"), ("memory.current", "70\n")]);
        write(
            &dir.path().join("a"),
            &[("memory.max", "1000\n"), ("memory.current", "600\n"), ("memory.stat", "file 9\ninactive_file 100\n")],
        );
        assert_eq!(group("0::/a/b\n", dir.path()), Some(Group { limit: 1000, left: 500 }));
        // A path of the host's, and no limit at the root.
        assert_eq!(group("0::/elsewhere\n", dir.path()), None);
        let old = dir.path().join("memory");
        write(&old, &[("memory.limit_in_bytes", "300"), ("memory.usage_in_bytes", "50")]);
        assert_eq!(group("4:memory:/docker/x\n0::/\n", dir.path()), Some(Group { limit: 300, left: 250 }));
        assert_eq!(smaller(None, Some(3)), Some(3));
    }
}
