//! The form of a run's settings. The automatic value of each and its reason stand beside it, decided by the same code that the server
//! runs.

use hearth_shared::spec::{DataFacts, OptimizerKind, Precision, ScheduleKind, TrainSpec, Tuning, Watchdog};
use leptos::prelude::*;

use super::options::Options;
use crate::app::components::field::{CheckField, ChoiceField, MOST_EXACT, NumberField};
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};

/// A word of this page in the reader's language, as a signal.
macro_rules! word {
    ($i18n:ident, $key:ident) => {
        Signal::derive(move || t_string!($i18n, tune.$key).to_owned())
    };
}

/// What the chosen model allows at most; infinite where it is not known yet.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Tokens of an example.
    pub length: Signal<f64>,
    /// Layers that can stay as they are: one at least learns.
    pub frozen: Signal<f64>,
}

#[component]
pub fn OptionsForm(
    options: Options,
    /// What the automatic values come to; none while there is no data.
    #[prop(into)]
    decided: Signal<Option<TrainSpec>>,
    #[prop(into)] facts: Signal<Option<DataFacts>>,
    /// What the chosen model allows.
    limits: Limits,
) -> impl IntoView {
    let i18n = use_i18n();
    let automatic = automatic(decided);
    let batch_reason = Signal::derive(move || match facts.get() {
        Some(facts) => t_string!(i18n, tune.batch_reason, count = format::group(facts.examples)),
        None => t_string!(i18n, tune.batch_hint).to_owned(),
    });
    let lr_reason = Signal::derive(move || match facts.get() {
        Some(facts) => t_string!(i18n, tune.lr_reason, count = format::count(facts.parameters)),
        None => t_string!(i18n, tune.lr_hint).to_owned(),
    });
    view! {
        <TuningTiles options/>
        <div class="options">
            <NumberField
                label=word!(i18n, epochs) hint=word!(i18n, epochs_reason) value=options.epochs name="n_epochs"
                automatic=automatic(|spec| spec.n_epochs.to_string()) min=1.0 max=100.0 whole=true
            />
            <NumberField
                label=word!(i18n, batch) hint=batch_reason value=options.batch_size name="batch_size"
                automatic=automatic(|spec| spec.batch_size.to_string()) min=1.0 max=1024.0 whole=true
            />
            <NumberField
                label=word!(i18n, lr) hint=lr_reason value=options.learning_rate name="learning_rate"
                automatic=automatic(|spec| format::small(spec.learning_rate)) min=1e-7 max=1.0
            />
            <SizeField options decided limits/>
            <Show when=move || options.preferences.get()>
                <NumberField
                    label=word!(i18n, beta) hint=word!(i18n, beta_reason) value=options.beta name="beta"
                    automatic=automatic(|spec| format::small(spec.dpo_beta.unwrap_or_default())) min=0.001 max=10.0
                />
            </Show>
        </div>
        <details class="more-options">
            <summary>{t!(i18n, tune.more_options)}</summary>
            <MoreOptions options decided limits/>
        </details>
        <label class="field">
            <span class="field-label">{t!(i18n, tune.prompts)}</span>
            <textarea
                class="textarea"
                rows="3"
                prop:value=options.prompts
                on:input=move |event| options.prompts.set(event_target_value(&event))
            ></textarea>
            <span class="hint">{t!(i18n, tune.prompts_hint)}</span>
        </label>
        <div class="options">
            <NumberField
                label=word!(i18n, samples_every) hint=word!(i18n, samples_every_reason)
                value=options.samples_every name="samples_every"
                automatic=automatic(|spec| spec.checkpoint_every.to_string()) min=1.0 max=MOST_EXACT whole=true
            />
        </div>
    }
}

/// What stands in a field that is left to Hearth.
fn automatic(decided: Signal<Option<TrainSpec>>) -> impl Fn(fn(&TrainSpec) -> String) -> Signal<String> + Copy {
    let i18n = use_i18n();
    move |pick| {
        Signal::derive(move || match decided.with(|decided| decided.as_ref().map(pick)) {
            Some(value) => t_string!(i18n, tune.auto_value, value = value),
            None => t_string!(i18n, tune.auto).to_owned(),
        })
    }
}

/// What of the model is trained, one tile each.
#[component]
fn TuningTiles(options: Options) -> impl IntoView {
    let i18n = use_i18n();
    let tiles = [
        (Tuning::Lora, "lora", "LoRA", word!(i18n, tuning_lora)),
        (Tuning::Full, "full", "", word!(i18n, tuning_full)),
        (Tuning::Bottleneck, "bottleneck", "", word!(i18n, tuning_bottleneck)),
        (Tuning::Prefix, "prefix", "", word!(i18n, tuning_prefix)),
        (Tuning::Prompt, "prompt", "", word!(i18n, tuning_prompt)),
        (Tuning::Ia3, "ia3", "(IA)³", word!(i18n, tuning_ia3)),
    ];
    let title = move |tuning: Tuning, name: &'static str| match tuning {
        Tuning::Full => t_string!(i18n, tune.tuning_full_title).to_owned(),
        Tuning::Bottleneck => t_string!(i18n, tune.tuning_bottleneck_title).to_owned(),
        Tuning::Prefix => t_string!(i18n, tune.tuning_prefix_title).to_owned(),
        Tuning::Prompt => t_string!(i18n, tune.tuning_prompt_title).to_owned(),
        Tuning::Lora | Tuning::Ia3 => name.to_owned(),
    };
    view! {
        <fieldset class="tiles">
            <legend class="field-label">{t!(i18n, tune.tuning)}</legend>
            {tiles
                .into_iter()
                .map(|(tuning, value, name, text)| {
                    view! {
                        <label class="tile">
                            <input
                                type="radio"
                                name="tuning"
                                value=value
                                prop:checked=move || options.tuning.get() == tuning
                                on:change=move |_| options.tuning.set(tuning)
                            />
                            <strong>{move || title(tuning, name)}</strong>
                            <span class="hint">{text}</span>
                        </label>
                    }
                })
                .collect_view()}
        </fieldset>
    }
}

/// How large what is trained is; (IA)³ has nothing to choose.
#[component]
fn SizeField(options: Options, decided: Signal<Option<TrainSpec>>, limits: Limits) -> impl IntoView {
    let i18n = use_i18n();
    let automatic = automatic(decided);
    let tokens = |spec: &TrainSpec| spec.adapter.as_ref().map_or(0, |adapter| adapter.virtual_tokens()).to_string();
    move || {
        match options.tuning.get() {
        Tuning::Lora => view! {
            <NumberField
                label=word!(i18n, rank) hint=word!(i18n, rank_reason) value=options.rank name="r"
                automatic=automatic(|spec| spec.lora().map_or(0, |lora| lora.r).to_string()) min=1.0 max=512.0
                whole=true
            />
        }
        .into_any(),
        Tuning::Prefix | Tuning::Prompt => view! {
            <NumberField
                label=word!(i18n, virtual_tokens) hint=word!(i18n, virtual_tokens_reason)
                value=options.virtual_tokens name="virtual_tokens" automatic=automatic(tokens) min=1.0 max=1024.0
                whole=true
            />
        }
        .into_any(),
        Tuning::Bottleneck => view! {
            <NumberField
                label=word!(i18n, width) hint=word!(i18n, width_reason) value=options.bottleneck_width
                name="bottleneck_width" automatic=Signal::derive(|| "64".to_owned()) min=1.0 max=4096.0
                whole=true
            />
        }
        .into_any(),
        Tuning::Full => view! {
            <NumberField
                label=word!(i18n, frozen) hint=word!(i18n, frozen_reason) value=options.frozen_layers
                name="frozen_layers" automatic=automatic(|spec| spec.frozen_layers.to_string()) max=limits.frozen whole=true
            />
        }
        .into_any(),
        Tuning::Ia3 => ().into_any(),
    }
    }
}

#[component]
fn MoreOptions(options: Options, decided: Signal<Option<TrainSpec>>, limits: Limits) -> impl IntoView {
    use {OptimizerKind as O, Precision as P, ScheduleKind as S, Watchdog as W};
    let i18n = use_i18n();
    let automatic = automatic(decided);
    let is_lora = move || options.tuning.get() == Tuning::Lora;
    let adapts = move || options.tuning.get() != Tuning::Full;
    let off = word!(i18n, off);
    view! {
        <div class="options">
            <ChoiceField label=word!(i18n, optimizer) hint=word!(i18n, optimizer_reason) value=options.optimizer name="optimizer"
                choices=vec![
                    (O::Adamw, "AdamW".into()), (O::Muon, "Muon".into()), (O::Lion, "Lion".into()),
                    (O::Adafactor, "Adafactor".into()), (O::Sgd, "SGD".into()),
                ]
            />
            <ChoiceField label=word!(i18n, schedule) hint=word!(i18n, schedule_reason) value=options.schedule name="schedule"
                choices=vec![
                    (S::Cosine, word!(i18n, schedule_cosine)), (S::Linear, word!(i18n, schedule_linear)),
                    (S::Constant, word!(i18n, schedule_constant)), (S::Wsd, word!(i18n, schedule_wsd)),
                    (S::InverseSqrt, word!(i18n, schedule_inverse)),
                ]
            />
            <NumberField
                label=word!(i18n, weight_decay) hint=word!(i18n, weight_decay_reason) value=options.weight_decay
                name="weight_decay" automatic=automatic(|spec| spec.weight_decay.to_string()) max=1.0
            />
            <ChoiceField label=word!(i18n, precision) hint=word!(i18n, precision_reason) value=options.precision name="precision"
                choices=vec![
                    (P::Auto, word!(i18n, auto)), (P::F32, "f32".into()), (P::Bf16, "bf16".into()),
                    (P::F16, "f16".into()), (P::Fp8, "fp8".into()),
                ]
            />
            <NumberField
                label=word!(i18n, length) hint=word!(i18n, length_reason) value=options.max_length name="max_length"
                automatic=automatic(|spec| spec.max_length.to_string()) min=16.0 max=limits.length whole=true
            />
            <Show when=is_lora>
                <NumberField
                    label=word!(i18n, dropout) hint=word!(i18n, dropout_reason) value=options.dropout name="dropout"
                    automatic=automatic(|spec| {
                        spec.lora().map_or(0.0, |lora| lora.dropout).to_string()
                    }) min=0.0 max=0.95
                />
            </Show>
            <NumberField
                label=word!(i18n, ema) hint=word!(i18n, ema_reason) value=options.ema_decay name="ema_decay"
                automatic=off max=0.999_99
            />
            <NumberField
                label=word!(i18n, early_stop) hint=word!(i18n, early_stop_reason) value=options.early_stop
                name="early_stop" automatic=off min=1.0 max=1000.0 whole=true
            />
            <ChoiceField label=word!(i18n, watchdog) hint=word!(i18n, watchdog_reason) value=options.watchdog name="watchdog"
                choices=vec![
                    (W::Stop, word!(i18n, watchdog_stop)), (W::Skip, word!(i18n, watchdog_skip)),
                    (W::RollBack, word!(i18n, watchdog_roll_back)),
                ]
            />
            <NumberField
                label=word!(i18n, checkpoint) hint=word!(i18n, checkpoint_reason)
                value=options.checkpoint_every name="checkpoint_every"
                automatic=automatic(|spec| spec.checkpoint_every.to_string()) min=1.0 max=MOST_EXACT whole=true
            />
            <NumberField
                label=word!(i18n, seed) hint=word!(i18n, seed_reason) value=options.seed name="seed"
                automatic=word!(i18n, seed_drawn) max=MOST_EXACT whole=true
            />
        </div>
        <div class="checks">
            <Show when=is_lora>
                <CheckField label=word!(i18n, dora) hint=word!(i18n, dora_reason) value=options.dora name="dora"/>
                <CheckField label=word!(i18n, rslora) hint=word!(i18n, rslora_reason) value=options.rslora name="rslora"/>
            </Show>
            <Show when=adapts>
                <CheckField label=word!(i18n, packed) hint=word!(i18n, packed_reason) value=options.packed name="base_weights"/>
            </Show>
            <CheckField
                label=word!(i18n, recompute) hint=word!(i18n, recompute_reason)
                value=options.gradient_checkpointing name="gradient_checkpointing"
            />
        </div>
    }
}
