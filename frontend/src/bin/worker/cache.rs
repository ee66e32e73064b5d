//! The cache lab: the same tokens generated with and without keys and values kept.

use std::rc::Rc;

use hearth_shared::lab::{
    LabError, Reply,
    cache::{Ask, Found},
};

use crate::{
    desk::{Done, Task},
    engine::Lab,
};

/// # Errors
/// Whatever ends the call.
pub async fn answer(task: &Rc<Task>, lab: &Lab, ask: Ask) -> Result<Done, LabError> {
    task.check()?;
    let _ = (lab, ask);
    Ok(Done { reply: Reply::Cache(Box::new(Found {})), buffers: Vec::new() })
}
