//! What can be set: bits, levels, grain, calibration, inputs, and which groups are spared.

use hearth_shared::spec::{Calibration, Grain};
use leptos::prelude::*;

use super::setting::{INPUT_BITS, WEIGHT_BITS, calibration_word, grain_word};
use super::summary::bits_word;
use super::use_lab;
use crate::app::i18n::{t, t_string, use_i18n};

/// One of a few, as buttons side by side.
#[component]
fn Segments<T: Copy + PartialEq + Send + Sync + 'static>(
    /// The setting's name in the address.
    name: &'static str,
    #[prop(into)] label: Signal<String>,
    /// What the choice does, in a sentence.
    #[prop(into)]
    hint: Signal<String>,
    /// Value, its word in the address, its name.
    choices: Vec<(T, String, Signal<String>)>,
    #[prop(into)] value: Signal<T>,
    /// None of the choices holds.
    #[prop(optional, into)]
    none: Signal<bool>,
    #[prop(into)] choose: Callback<T>,
) -> impl IntoView {
    let id = format!("quantize-{name}");
    view! {
        <div class="field">
            <span class="field-label" id=id.clone()>{label}</span>
            <div class="segments" role="group" aria-labelledby=id data-setting=name>
                {choices
                    .into_iter()
                    .map(|(choice, word, text)| {
                        view! {
                            <button
                                data-value=word
                                aria-pressed=move || (!none.get() && value.get() == choice).to_string()
                                on:click=move |_| choose.run(choice)
                            >
                                {text}
                            </button>
                        }
                    })
                    .collect_view()}
            </div>
            <span class="hint">{hint}</span>
        </div>
    }
}

/// A word of this lab in the reader's language, as a signal.
macro_rules! word {
    ($i18n:ident, $key:ident) => {
        Signal::derive(move || t_string!($i18n, quantize.$key).to_owned())
    };
}

#[component]
pub fn Controls() -> impl IntoView {
    view! {
        <section class="card quantize-controls">
            <Bits/>
            <Levels/>
            <Spared/>
        </section>
    }
}

/// `off` and a few counts of bits.
fn bit_choices(known: &[u8], off: Signal<String>) -> Vec<(Option<u8>, String, Signal<String>)> {
    let counted = known.iter().map(|&bits| {
        let text = bits.to_string();
        (Some(bits), text.clone(), Signal::stored(text))
    });
    std::iter::once((None, "off".to_owned(), off)).chain(counted).collect()
}

#[component]
fn Bits() -> impl IntoView {
    let i18n = use_i18n();
    let setting = use_lab().setting;
    let choose = move |bits| {
        setting.update(|setting| {
            setting.spec.weight_bits = bits;
            setting.mixed.clear();
        });
    };
    view! {
        <Segments
            name="bits"
            label=word!(i18n, weight_bits)
            hint=word!(i18n, weight_bits_hint)
            choices=bit_choices(&WEIGHT_BITS, word!(i18n, off))
            value=Signal::derive(move || setting.with(|setting| setting.spec.weight_bits))
            none=Signal::derive(move || setting.with(|setting| !setting.mixed.is_empty()))
            choose=choose
        />
        <Mixed/>
        <Segments
            name="inputs"
            label=word!(i18n, input_bits)
            hint=word!(i18n, input_bits_hint)
            choices=bit_choices(&INPUT_BITS, word!(i18n, off))
            value=Signal::derive(move || setting.with(|setting| setting.spec.input_bits))
            choose=move |bits| setting.update(|setting| setting.spec.input_bits = bits)
        />
    }
}

/// That matrices have bits of their own, and the way back.
#[component]
fn Mixed() -> impl IntoView {
    let i18n = use_i18n();
    let lab = use_lab();
    let words = move || {
        lab.setting.with(|setting| {
            let mut counts: Vec<u8> = setting.mixed.values().copied().collect();
            counts.sort_unstable();
            counts.dedup();
            let own: Vec<String> = counts.into_iter().map(|bits| bits_word(i18n, Some(bits))).collect();
            let rest = bits_word(i18n, setting.spec.weight_bits);
            t_string!(i18n, quantize.mixed, few = setting.mixed.len(), bits = own.join(", "), rest = rest)
        })
    };
    view! {
        <Show when=move || lab.setting.with(|setting| !setting.mixed.is_empty())>
            <div class="quantize-mixed" id="quantize-mixed">
                <p class="num">{words}</p>
                <button class="button small" data-action="unmix" on:click=move |_| lab.unmix()>
                    {t!(i18n, quantize.unmix)}
                </button>
            </div>
        </Show>
    }
}

#[component]
fn Levels() -> impl IntoView {
    let i18n = use_i18n();
    let setting = use_lab().setting;
    let grains = [
        (Grain::Tensor, word!(i18n, grain_tensor)),
        (Grain::Row, word!(i18n, grain_row)),
        (Grain::Column, word!(i18n, grain_column)),
        (Grain::Block, word!(i18n, grain_block)),
    ];
    let calibrations = [
        (Calibration::MinMax, word!(i18n, calibration_minmax)),
        (Calibration::Percentile, word!(i18n, calibration_percentile)),
        (Calibration::Mse, word!(i18n, calibration_mse)),
    ];
    let grains = grains.map(|(grain, text)| (grain, grain_word(grain).to_owned(), text)).to_vec();
    let calibrations = calibrations.map(|(c, text)| (c, calibration_word(c).to_owned(), text)).to_vec();
    let levels = vec![
        (true, "symmetric".to_owned(), word!(i18n, symmetric)),
        (false, "asymmetric".to_owned(), word!(i18n, asymmetric)),
    ];
    view! {
        <Segments
            name="grain"
            label=word!(i18n, grain)
            hint=word!(i18n, grain_hint)
            choices=grains
            value=Signal::derive(move || setting.with(|setting| setting.spec.grain))
            choose=move |grain| setting.update(|setting| setting.spec.grain = grain)
        />
        <Segments
            name="levels"
            label=word!(i18n, levels)
            hint=word!(i18n, levels_hint)
            choices=levels
            value=Signal::derive(move || setting.with(|setting| setting.spec.symmetric))
            choose=move |symmetric| setting.update(|setting| setting.spec.symmetric = symmetric)
        />
        <Segments
            name="calibration"
            label=word!(i18n, calibration)
            hint=word!(i18n, calibration_hint)
            choices=calibrations
            value=Signal::derive(move || setting.with(|setting| setting.spec.calibration))
            choose=move |calibration| setting.update(|setting| setting.spec.calibration = calibration)
        />
    }
}

/// Which groups are rounded: pressed is rounded.
#[component]
fn Spared() -> impl IntoView {
    let i18n = use_i18n();
    let lab = use_lab();
    let groups = Memo::new(move |_| {
        let mut groups: Vec<String> = lab.tried.with(|tried| {
            let tried = tried.as_ref().map(|tried| tried.matrices.iter().map(|matrix| matrix.group.clone()).collect());
            tried.unwrap_or_default()
        });
        groups.dedup();
        groups
    });
    view! {
        <div class="field">
            <span class="field-label" id="quantize-groups">{t!(i18n, quantize.groups)}</span>
            <div class="quantize-groups" role="group" aria-labelledby="quantize-groups">
                {move || groups.get().into_iter().map(|group| view! { <Group group/> }).collect_view()}
            </div>
            <span class="hint">{t!(i18n, quantize.groups_hint)}</span>
        </div>
    }
}

#[component]
fn Group(group: String) -> impl IntoView {
    let lab = use_lab();
    let name = group_name(&group);
    let (shown, pressed) = (group.clone(), group.clone());
    let rounded = move || lab.setting.with(|setting| !setting.spared.contains(&pressed));
    view! {
        <button
            class="chip"
            data-group=shown
            aria-pressed=move || rounded().to_string()
            on:click=move |_| toggle(lab, &group)
        >
            {name}
        </button>
    }
}

/// Spares a group, or rounds it again.
pub fn toggle(lab: super::Lab, group: &str) {
    lab.setting.update(|setting| {
        let before = setting.spared.len();
        setting.spared.retain(|name| name != group);
        if setting.spared.len() == before {
            setting.spared.push(group.to_owned());
            setting.spared.sort();
        }
    });
}

/// A layer's place as people count, and as every lab says it: from 1.
pub fn counted(layer: &str) -> String {
    layer.parse::<usize>().map_or_else(|_| layer.to_owned(), |layer| (layer + 1).to_string())
}

/// `layers.3` as `layer 4`, in the reader's language.
pub fn group_name(group: &str) -> impl Fn() -> String + Clone + use<> {
    let i18n = use_i18n();
    let group = group.to_owned();
    move || match group.strip_prefix("layers.") {
        Some(layer) => t_string!(i18n, quantize.layer, layer = counted(layer)),
        None if group == "embed" => t_string!(i18n, quantize.embed).to_owned(),
        None => t_string!(i18n, quantize.head).to_owned(),
    }
}
