//! Placeholder.
use leptos::prelude::*;
#[component]
pub fn FineTune() -> impl IntoView {}
#[component]
pub fn NewRun() -> impl IntoView {}
#[component]
pub fn Run() -> impl IntoView {}
