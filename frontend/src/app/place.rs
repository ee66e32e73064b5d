//! Places whose code comes with the first visit: each is a split point, and those of one chunk come together. Until a chunk is here its
//! place shows that it is coming; one that can't be had can be asked for again. Without the feature `split` (native tests, clippy, a
//! build by hand) everything is part of the page's one program.

use leptos::prelude::*;

use super::{fine_tune, lab, learn, planner, playground, pretrain};

macro_rules! places {
    ($($place:ident = $view:path, in $chunk:ident, $show:ident, $load:ident;)*) => {$(
        #[cfg(feature = "split")]
        #[leptos::wasm_split::wasm_split($chunk, wasm_split_path = ::leptos::wasm_split, preload($load), fallible)]
        fn $show() -> Result<AnyView, leptos::wasm_split::SplitLoaderError> {
            Ok(view! { <$view/> }.into_any())
        }

        #[cfg(feature = "split")]
        pub fn $place() -> AnyView {
            use futures::FutureExt as _;

            coming::late(
                || Box::pin(async { $load().await.is_ok() }),
                || $show().now_or_never().and_then(Result::ok),
            )
        }

        #[cfg(not(feature = "split"))]
        pub fn $place() -> AnyView {
            view! { <$view/> }.into_any()
        }
    )*};
}

places! {
    attention = lab::Lab, in attention, show_attention, load_attention;
    position = lab::position::Position, in labs, show_position, load_position;
    cache = lab::cache::Cache, in labs, show_cache, load_cache;
    sampling = lab::sampling::Sampling, in labs, show_sampling, load_sampling;
    tokenizer = lab::words::Words, in labs, show_tokenizer, load_tokenizer;
    quantization = lab::quantize::Quantize, in labs, show_quantization, load_quantization;
    chapters = learn::Learn, in learn, show_chapters, load_chapters;
    reading = learn::Reading, in learn, show_reading, load_reading;
    talk = playground::Playground, in playground, show_talk, load_talk;
    plan = planner::Planner, in runs, show_plan, load_plan;
    runs = fine_tune::FineTune, in runs, show_runs, load_runs;
    new_run = fine_tune::NewRun, in runs, show_new_run, load_new_run;
    compare = fine_tune::Compare, in runs, show_compare, load_compare;
    run = fine_tune::Run, in runs, show_run, load_run;
    models = pretrain::Pretrain, in runs, show_models, load_models;
    new_model = pretrain::NewModel, in runs, show_new_model, load_new_model;
}

#[cfg(feature = "split")]
mod coming {
    use futures::future::LocalBoxFuture;
    use leptos::prelude::*;
    use wasm_bindgen_futures::spawn_local;

    use crate::app::components::Retry;
    use crate::app::components::icons::Icon;
    use crate::app::i18n::{t, use_i18n};
    use crate::app::store::use_store;

    #[derive(Clone, Copy, PartialEq)]
    enum Chunk {
        Coming,
        Here,
        Lost,
    }

    /// A place that `show` makes once `load` has said that its chunk is here.
    pub fn late(load: fn() -> LocalBoxFuture<'static, bool>, show: fn() -> Option<AnyView>) -> AnyView {
        let store = use_store();
        let chunk = RwSignal::new(Chunk::Coming);
        let fetch = move || {
            chunk.set(Chunk::Coming);
            spawn_local(async move {
                let here = load().await;
                // Whoever left meanwhile has taken the signal along.
                let _ = chunk.try_set(if here { Chunk::Here } else { Chunk::Lost });
                if !here {
                    // A server of another build no longer has it: hearing its build id reloads the page.
                    store.refresh();
                }
            });
        };
        fetch();
        let lost = move || view! { <Lost retry=fetch/> }.into_any();
        view! {
            {move || match chunk.get() {
                Chunk::Coming => view! { <Coming/> }.into_any(),
                Chunk::Here => show().unwrap_or_else(lost),
                Chunk::Lost => lost(),
            }}
        }
        .into_any()
    }

    #[component]
    fn Coming() -> impl IntoView {
        let i18n = use_i18n();
        view! {
            <section class="page coming" role="status">
                <span class="spinner" aria-hidden="true"></span>
                {t!(i18n, shell.coming)}
            </section>
        }
    }

    /// Why it did not come is in the browser's console alone: the server is stopped or of another build, or the line was cut.
    #[component]
    fn Lost(#[prop(into)] retry: Callback<()>) -> impl IntoView {
        let i18n = use_i18n();
        view! {
            <section class="page narrow">
                <div class="notice bad" role="alert">
                    <Icon name="warn"/>
                    <div>
                        <strong>{t!(i18n, shell.part_lost_title)}</strong>
                        <p>{t!(i18n, shell.part_lost_text)}</p>
                    </div>
                    <Retry retry/>
                </div>
            </section>
        }
    }
}
