//! The page's entry point.

fn main() {
    hearth_frontend::app::start();
}
