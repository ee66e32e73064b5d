//! The integration tests, one binary: each module is an area. They start the real program and, where a page is tested, a
//! real browser; `hearth_tests` holds what they share.
//!
//! `cargo xtask test` runs those beside the page's build whose names do not say that they need the page: `browser_`, `harness::` and
//! `the_page_` do (`xtask/src/test.rs`).

mod api_chat;
mod api_client;
mod api_files;
mod api_system;
mod browser_bad;
mod browser_cache;
mod browser_compare;
mod browser_example;
mod browser_gpu;
mod browser_inside;
mod browser_kept;
mod browser_lab;
mod browser_learn;
mod browser_looks;
mod browser_planner;
mod browser_playground;
mod browser_position;
mod browser_pretrain;
mod browser_pull;
mod browser_quantize;
mod browser_sampling;
mod browser_story;
mod browser_trial;
mod browser_words;
mod command_line;
mod exporting;
mod harness;
mod jobs_care;
mod jobs_killed;
mod jobs_pretrain;
mod jobs_tuning;
mod learning;
mod loading;
mod pruning;
mod refusals;
mod train_killed;
