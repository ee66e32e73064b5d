//! The quantization lab.

use std::rc::Rc;

use hearth_shared::lab::{LabError, quantize::Ask};

use crate::{
    desk::{Done, Task},
    engine::Lab,
};

/// # Errors
/// Whatever ends the call.
pub async fn answer(task: &Rc<Task>, lab: &Lab, ask: Ask) -> Result<Done, LabError> {
    task.check()?;
    let _ = (lab.current()?, ask);
    Err(LabError::NoModel)
}
