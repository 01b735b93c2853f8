//! `--evaluate`.

use crate::evaluate;
use crate::project::Project;
use crate::vm::{Program, ThisHost};

/// Has a project evaluated in a throw-away VM, and merges the answers.
pub fn resolve(project: &mut Project) -> anyhow::Result<()> {
    evaluate::resolve(project, &Program::find(), &ThisHost)
}
