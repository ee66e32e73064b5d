//! The left half: what is planned. Dials run over the sizes that are usual; their numbers take any.

use hearth_shared::plan::devices::sheets;
use hearth_shared::spec::{OptimizerKind, Precision, Preset, Tuning};
use leptos::prelude::*;
use web_sys::HtmlInputElement;

use super::question::{MOST_FROZEN, Question, most_frozen};
use super::{Desk, word};
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::store::{Load, use_store};

const DEPTHS: [u32; 16] = [1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80];
const VOCABULARIES: [u32; 8] = [1024, 4096, 8192, 16_384, 32_768, 49_152, 65_536, 131_072];
const RANKS: [u32; 7] = [2, 4, 8, 16, 32, 64, 128];
const BATCHES: [u32; 13] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096];
const LENGTHS: [u32; 11] = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536];
const EXPERTS: [u32; 6] = [2, 4, 8, 16, 64, 128];
const MOE_EVERY: [u32; 4] = [1, 2, 3, 4];
const FROZEN: [u32; 10] = [0, 1, 2, 4, 6, 8, 12, 16, 24, 32];
const COUNTS: [u32; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

#[component]
pub(super) fn Form() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <form class="card planner-form" on:submit=|event| event.prevent_default()>
            <section>
                <h2>{t!(i18n, plan.model)}</h2>
                <Models/>
                <NewModel/>
            </section>
            <section>
                <h2>{t!(i18n, plan.method)}</h2>
                <Method/>
            </section>
            <section>
                <h2>{t!(i18n, plan.data)}</h2>
                <Batch/>
                <Tokens/>
            </section>
            <section>
                <h2>{t!(i18n, plan.devices)}</h2>
                <Devices/>
                <Spread/>
            </section>
        </form>
    }
}

/// The sizes of a model that does not exist yet.
#[component]
pub(in crate::app) fn NewModel(
    /// Leaves the vocabulary's size to somebody else.
    #[prop(optional)]
    without_vocabulary: bool,
) -> impl IntoView {
    let i18n = use_i18n();
    let Desk { question, .. } = expect_context::<Desk>();
    let is_new = move || question.with(|question| question.model.is_none());
    let is_mixture = move || question.with(|question| question.model.is_none() && question.preset == Preset::Moe);
    view! {
        <Show when=is_new>
            <Choice
                label=word!(i18n, family) name="preset" read=|question| question.preset
                write=|question, preset| question.preset = preset
                choices=vec![
                    (Preset::Llama, "Llama".into()), (Preset::Gpt2, "GPT-2".into()),
                    (Preset::Moe, word!(i18n, family_moe)), (Preset::Palm, "PaLM".into()),
                ]
            />
            <Dial label=word!(i18n, depth) name="depth" stops=&DEPTHS
                read=|question| question.depth write=|question, value| question.depth = value.min(128)/>
            <Show when=move || !without_vocabulary>
                <Vocabulary/>
            </Show>
        </Show>
        <Show when=is_mixture>
            <Dial label=word!(i18n, experts) name="experts" stops=&EXPERTS
                read=|question| question.experts write=|question, value| question.experts = value.clamp(2, 256)/>
            <Dial label=word!(i18n, moe_every) name="moe_every" stops=&MOE_EVERY
                read=|question| question.moe_every.min(question.depth)
                write=|question, value| question.moe_every = value/>
        </Show>
    }
}

#[component]
pub(in crate::app) fn Vocabulary() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <Dial label=word!(i18n, vocab) name="vocab" stops=&VOCABULARIES
            read=|question| question.vocab write=|question, value| question.vocab = value/>
    }
}

/// Rows and their length.
#[component]
pub(in crate::app) fn Batch() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <Dial label=word!(i18n, batch) name="batch" stops=&BATCHES
            read=|question| question.batch write=|question, value| question.batch = value/>
        <Dial label=word!(i18n, length) name="length" stops=&LENGTHS
            read=|question| question.length write=|question, value| question.length = value.clamp(16, 1 << 17)/>
        <Dial label=word!(i18n, rows) name="rows" stops=&BATCHES
            read=|question| question.rows.min(question.batch) write=|question, value| question.rows = value/>
    }
}

/// What is trained, and how.
#[component]
fn Method() -> impl IntoView {
    use Tuning as T;
    let i18n = use_i18n();
    let Desk { question, shape, .. } = expect_context::<Desk>();
    let adapts = move || question.with(|question| question.tuning != T::Full);
    let has_rank = move || question.with(|question| question.tuning == T::Lora);
    // What begins from nothing has no layer that could stay as it is.
    let freezes = move || question.with(|question| question.tuning == T::Full && question.model.is_some());
    let most = Memo::new(move |_| {
        let is_here = question.with(|question| question.model.is_some());
        shape.with(|shape| shape.as_ref().ok().filter(|_| is_here).map_or(MOST_FROZEN, most_frozen))
    });
    // An address or another model may have said more than this one can.
    Effect::new(move |_| {
        let most = most.get();
        if question.with(|question| question.frozen > most) {
            question.update(|question| question.frozen = most);
        }
    });
    view! {
        <Choice
            label=word!(i18n, tuning) name="tuning" read=|question| question.tuning
            write=|question, tuning| question.tuning = tuning
            choices=vec![
                (T::Full, word!(i18n, tuning_full)), (T::Lora, "LoRA".into()),
                (T::Bottleneck, word!(i18n, tuning_bottleneck)), (T::Prefix, word!(i18n, tuning_prefix)),
                (T::Prompt, word!(i18n, tuning_prompt)), (T::Ia3, "(IA)³".into()),
            ]
        />
        <Show when=has_rank>
            <Dial label=word!(i18n, rank) name="rank" stops=&RANKS
                read=|question| question.rank write=|question, value| question.rank = value.min(512)/>
            <Check label=word!(i18n, dora) name="dora"
                read=|question| question.dora write=|question, on| question.dora = on/>
        </Show>
        <Show when=freezes>
            <Dial label=word!(i18n, frozen) name="frozen" stops=&FROZEN
                range=Signal::derive(move || (0, most.get()))
                read=|question| question.frozen write=|question, value| question.frozen = value/>
        </Show>
        <How/>
        <Show when=adapts>
            <Check label=word!(i18n, packed) name="packed"
                read=|question| question.packed write=|question, on| question.packed = on/>
        </Show>
    }
}

/// The optimizer, the number format, and what is kept of a pass.
#[component]
pub(in crate::app) fn How() -> impl IntoView {
    use {OptimizerKind as O, Precision as P};
    let i18n = use_i18n();
    view! {
        <Choice
            label=word!(i18n, optimizer) name="optimizer" read=|question| question.optimizer
            write=|question, optimizer| question.optimizer = optimizer
            choices=vec![
                (O::Adamw, "AdamW".into()), (O::Muon, "Muon".into()), (O::Lion, "Lion".into()),
                (O::Adafactor, "Adafactor".into()), (O::Sgd, "SGD".into()),
            ]
        />
        <Choice
            label=word!(i18n, precision) name="precision" read=|question| question.precision
            write=|question, precision| question.precision = precision
            choices=vec![
                (P::Auto, word!(i18n, precision_auto)), (P::F32, "f32".into()), (P::Bf16, "bf16".into()),
                (P::F16, "f16".into()), (P::Fp8, "fp8".into()),
            ]
        />
        <Check label=word!(i18n, checkpointing) name="checkpointing"
            read=|question| question.checkpointing write=|question, on| question.checkpointing = on/>
    }
}

/// Over how many devices, and what each of them keeps.
#[component]
fn Spread() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <Dial label=word!(i18n, copies) name="data" stops=&COUNTS
            read=|question| question.layout.data write=|question, value| question.layout.data = value.min(4096)/>
        <Dial label=word!(i18n, tensor) name="tensor" stops=&COUNTS[..6]
            read=|question| question.layout.tensor write=|question, value| question.layout.tensor = value.min(64)/>
        <Dial label=word!(i18n, pipeline) name="pipeline" stops=&COUNTS[..6]
            read=|question| question.layout.pipeline write=|question, value| question.layout.pipeline = value.min(64)/>
        <Choice
            label="ZeRO" name="zero" read=|question| question.layout.zero
            write=|question, zero| question.layout.zero = zero
            choices=vec![
                (0, word!(i18n, zero_0)), (1, word!(i18n, zero_1)), (2, word!(i18n, zero_2)), (3, word!(i18n, zero_3)),
            ]
        />
    }
}

/// A model of the server, or a new one.
#[component]
fn Models() -> impl IntoView {
    let i18n = use_i18n();
    let Desk { question, .. } = expect_context::<Desk>();
    let store = use_store();
    let names = Memo::new(move |_| match store.models.get() {
        Load::Ready(models) => models.into_iter().map(|model| (model.id, model.hearth.parameters)).collect(),
        _ => Vec::<(String, u64)>::new(),
    });
    let chosen = move |id: &str| question.with(|question| question.model.as_deref() == Some(id));
    view! {
        <label class="field">
            <span class="field-label">{t!(i18n, plan.which)}</span>
            <select
                class="select"
                name="model"
                on:change=move |event| {
                    let id = event_target_value(&event);
                    question.update(|question| question.model = Some(id).filter(|id| !id.is_empty()));
                }
            >
                <option value="" selected=move || question.with(|question| question.model.is_none())>
                    {t!(i18n, plan.new_model)}
                </option>
                <For each=move || names.get() key=|(id, _)| id.clone() let:model>
                    <option value=model.0.clone() selected={
                        let id = model.0.clone();
                        move || chosen(&id)
                    }>{format!("{} · {}", model.0, format::count(model.1))}</option>
                </For>
            </select>
        </label>
    }
}

/// This machine, or one of the table.
#[component]
fn Devices() -> impl IntoView {
    let i18n = use_i18n();
    let Desk { question, here, .. } = expect_context::<Desk>();
    let this = move || match here.get() {
        Some(sheet) => t_string!(i18n, plan.this_machine_is, name = sheet.name),
        None => t_string!(i18n, plan.this_machine).to_owned(),
    };
    let chosen = move |name: &str| question.with(|question| question.device.as_deref() == Some(name));
    view! {
        <label class="field">
            <span class="field-label">{t!(i18n, plan.device)}</span>
            <select
                class="select"
                name="device"
                on:change=move |event| {
                    let name = event_target_value(&event);
                    question.update(|question| question.device = Some(name).filter(|name| !name.is_empty()));
                }
            >
                <option value="" selected=move || question.with(|question| question.device.is_none())>{this}</option>
                {sheets()
                    .into_iter()
                    .map(|sheet| {
                        let name = sheet.name.clone();
                        view! {
                            <option value=sheet.name.clone() selected=move || chosen(&name)>{sheet.name.clone()}</option>
                        }
                    })
                    .collect_view()}
            </select>
        </label>
    }
}

/// How much is read in the whole run.
#[component]
fn Tokens() -> impl IntoView {
    let i18n = use_i18n();
    let Desk { question, shape, .. } = expect_context::<Desk>();
    let usual = move || {
        let tokens = shape.with(|shape| shape.as_ref().ok().map(|shape| Question::default().all_tokens(shape)));
        tokens.map(|tokens| format!("{:.0}", tokens / 1e6)).unwrap_or_default()
    };
    view! {
        <label class="field">
            <span class="field-label">{t!(i18n, plan.tokens)}</span>
            <input
                class="input"
                type="number"
                name="tokens"
                inputmode="decimal"
                min="0"
                step="any"
                placeholder=usual
                prop:value=move || question.with(|question| question.tokens).map(|tokens| tokens.to_string()).unwrap_or_default()
                on:change=move |event| {
                    let tokens = event_target_value(&event).parse().ok().filter(|tokens: &f64| *tokens > 0.0 && *tokens < 1e12);
                    question.update(|question| question.tokens = tokens);
                }
            />
            <span class="hint">{t!(i18n, plan.tokens_hint)}</span>
        </label>
    }
}

/// A slider over usual sizes, with a number that takes any.
#[component]
fn Dial(
    #[prop(into)] label: Signal<String>,
    name: &'static str,
    stops: &'static [u32],
    read: fn(&Question) -> u32,
    write: fn(&mut Question, u32),
    /// The least and the most that it takes.
    #[prop(default = Signal::stored((1, u32::MAX)))]
    range: Signal<(u32, u32)>,
) -> impl IntoView {
    let Desk { question, .. } = expect_context::<Desk>();
    let value = Memo::new(move |_| question.with(read));
    // The last size that it takes.
    let last = Memo::new(move |_| {
        let (_, most) = range.get();
        stops.iter().rposition(|stop| *stop <= most).unwrap_or(0)
    });
    let nearest = move || {
        let value = value.get();
        (0..=last.get()).min_by_key(|at| stops[*at].abs_diff(value)).unwrap_or(0)
    };
    let fill = move || format!("{:.2}%", nearest() as f64 / last.get().max(1) as f64 * 100.0);
    let set = move |number: u32| {
        let (least, most) = range.get_untracked();
        question.update(|question| write(question, number.min(most).max(least)));
    };
    view! {
        <label class="slider">
            <span class="slider-head">
                <span class="slider-label">{label}</span>
                <input
                    class="slider-number"
                    type="number"
                    name=name
                    inputmode="numeric"
                    min=move || range.get().0
                    max=move || Some(range.get().1).filter(|most| *most < u32::MAX)
                    prop:value=move || value.get().to_string()
                    aria-label=label
                    on:change=move |event| {
                        if let Ok(number) = event_target_value(&event).parse() {
                            set(number);
                        }
                        event_target::<HtmlInputElement>(&event).set_value(&value.get_untracked().to_string());
                    }
                />
            </span>
            <input
                type="range"
                min="0"
                max=move || last.get()
                step="1"
                prop:value=move || nearest().to_string()
                style:--fill=fill
                aria-label=label
                aria-valuetext=move || value.get().to_string()
                on:input=move |event| {
                    if let Some(stop) = event_target_value(&event).parse().ok().and_then(|at: usize| stops.get(at)) {
                        set(*stop);
                    }
                }
            />
        </label>
    }
}

/// One of a few.
#[component]
fn Choice<T: Copy + PartialEq + Send + Sync + 'static>(
    #[prop(into)] label: Signal<String>,
    name: &'static str,
    read: fn(&Question) -> T,
    write: fn(&mut Question, T),
    choices: Vec<(T, Signal<String>)>,
) -> impl IntoView {
    let Desk { question, .. } = expect_context::<Desk>();
    let values: Vec<T> = choices.iter().map(|(choice, _)| *choice).collect();
    let options = choices
        .into_iter()
        .enumerate()
        .map(|(at, (choice, word))| {
            view! { <option value=at selected=move || question.with(read) == choice>{word}</option> }
        })
        .collect_view();
    let choose = move |chosen: String| {
        if let Some(choice) = chosen.parse().ok().and_then(|at: usize| values.get(at)) {
            question.update(|question| write(question, *choice));
        }
    };
    view! {
        <label class="field">
            <span class="field-label">{label}</span>
            <select class="select" name=name on:change=move |event| choose(event_target_value(&event))>
                {options}
            </select>
        </label>
    }
}

/// Yes or no.
#[component]
fn Check(
    #[prop(into)] label: Signal<String>,
    name: &'static str,
    read: fn(&Question) -> bool,
    write: fn(&mut Question, bool),
) -> impl IntoView {
    let Desk { question, .. } = expect_context::<Desk>();
    view! {
        <label class="check">
            <input
                type="checkbox"
                name=name
                prop:checked=move || question.with(read)
                on:change=move |event| {
                    let on = event_target_checked(&event);
                    question.update(|question| write(question, on));
                }
            />
            <span>{label}</span>
        </label>
    }
}
