//! What benches share: which parts were asked for, the other sides, one race of training steps, the attention lab's answer, and the table.

use anyhow::{Result, bail};

pub mod lab;
pub mod peers;
pub mod race;
pub mod table;

/// The parts named on the command line in their own order, all of them where none is named. Each is announced when it begins.
///
/// # Errors
/// Names an unknown part and those that there are.
pub fn parts<const N: usize>(all: [&'static str; N]) -> Result<impl Iterator<Item = &'static str>> {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = asked.iter().find(|name| !all.contains(&name.as_str())) {
        bail!("there is no part {unknown:?}, only: {}", all.join(", "));
    }
    let chosen = all.into_iter().filter(move |part| asked.is_empty() || asked.iter().any(|name| name == part));
    Ok(chosen.inspect(|part| eprintln!("— {part}")))
}
