//! The stack as one drawn column: from ids through every block to logits, what each half adds to the residual stream, and inside a
//! block its steps and shared heads.

use hearth_shared::lab::inside::{Block, Cost, Order, Place, Stack, Step};
use leptos::prelude::*;

use super::block::Opened;
use super::part::Part;
use super::state::use_inside;
use super::strip::Strip;
use super::working::Working;
use super::{amount, operations};
use crate::app::components::icons::Icon;
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::lab::heat::Scale;
use crate::app::lab::visible;

/// A word of this part in the reader's language, as a signal.
macro_rules! word {
    ($i18n:ident, $key:ident) => {
        Signal::derive(move || t_string!($i18n, inside.$key).to_owned())
    };
}

#[component]
pub fn StackPart() -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let token = move || {
        let index = inside.token();
        let forward = inside.session.forward()?;
        let text = visible(&forward.tokens().get(index)?.text);
        Some(t_string!(i18n, inside.stack_token, index = index + 1, token = text))
    };
    view! {
        <div class="section-head">
            <h3>{t!(i18n, inside.stack_title)}</h3>
            <bdi class="badge num" aria-live="polite">{token}</bdi>
        </div>
        <p class="inside-help">{t!(i18n, inside.stack_help)}</p>
        <Working part=Part::Stack/>
        {move || inside.stack.get().map(|stack| view! { <Column stack/> })}
    }
}

#[component]
fn Column(stack: Stack) -> impl IntoView {
    let i18n = use_i18n();
    let scale = Scale::RootTo(stack.largest());
    let Cost { parameters, flops } = stack.cost();
    let (order, time) = (stack.order, stack.time);
    let before: Vec<Vec<f32>> = (0..stack.blocks.len()).map(|block| stack.before(block).to_vec()).collect();
    let blocks = stack.blocks.into_iter().zip(before).enumerate();
    let blocks =
        blocks.map(|(index, (block, before))| view! { <BlockItem index block before order scale/> }).collect_view();
    let all = move || {
        t_string!(
            i18n,
            inside.stack_total,
            parameters = format::count(parameters),
            flops = operations(flops),
            tokens = time
        )
    };
    let order_words = move || match order {
        Order::Serial => t_string!(i18n, inside.order_serial),
        Order::Parallel => t_string!(i18n, inside.order_parallel),
        Order::ParallelShared => t_string!(i18n, inside.order_shared),
    };
    let (norms, head): (Vec<Step>, Vec<Step>) = stack.head.into_iter().partition(|step| step.place == Place::Norm);
    let normed = Cost::of(&norms).parameters;
    let norm_words = move || t_string!(i18n, inside.end_norm, parameters = format::count(normed));
    view! {
        <p class="inside-sum num">{all}</p>
        <ol class="stack">
            <li class="stack-item">
                <Ends steps=stack.embedding place=Place::Embedding title=word!(i18n, embedding)/>
                <Row name=word!(i18n, stream) values=stack.begins scale kind="stream"/>
            </li>
            {blocks}
            <li class="stack-item last">
                <Row name=word!(i18n, last_norm) values=stack.normed scale kind="norm"/>
                <p class="hint num stack-note">{norm_words}</p>
                <Ends steps=head place=Place::Head title=word!(i18n, head)/>
            </li>
        </ol>
        <p class="hint stage-legend">
            <i class="ramp root"></i>
            {t!(i18n, inside.stack_scale)}
        </p>
        <p class="hint">{order_words}</p>
    }
}

/// The beginning and the end of the column: their matrices in a line.
#[component]
fn Ends(steps: Vec<Step>, place: Place, #[prop(into)] title: Signal<String>) -> impl IntoView {
    let i18n = use_i18n();
    let cost = Cost::of(&steps);
    let shapes = steps.last().map(|step| shape(&step.output)).unwrap_or_default();
    let line = move || {
        let (shape, parameters) = (shapes.clone(), format::count(cost.parameters));
        match place {
            Place::Embedding => t_string!(i18n, inside.end_looked_up, shape = shape, parameters = parameters),
            Place::Head if cost.parameters == 0 => {
                t_string!(i18n, inside.end_tied, shape = shape, flops = operations(cost.flops))
            }
            _ => {
                let flops = operations(cost.flops);
                t_string!(i18n, inside.end_line, shape = shape, parameters = parameters, flops = flops)
            }
        }
    };
    view! {
        <div class="stack-end" data-end=if place == Place::Head { "head" } else { "embedding" }>
            <strong>{title}</strong>
            <span class="hint num">{line}</span>
        </div>
    }
}

/// One line of the column: what is added or what it has come to, by token, and the number of the token in hand.
#[component]
fn Row(#[prop(into)] name: Signal<String>, values: Vec<f32>, scale: Scale, kind: &'static str) -> impl IntoView {
    let inside = use_inside();
    let shown = values.clone();
    let figure = move || shown.get(inside.token()).map(|value| amount(f64::from(*value)));
    view! {
        <div class="stack-row" data-row=kind>
            <span class="stack-node" aria-hidden="true"></span>
            <span class="stack-name">{name}</span>
            <Strip values scale/>
            <span class="stack-figure num">{figure}</span>
        </div>
    }
}

#[component]
fn BlockItem(index: usize, block: Block, before: Vec<f32>, order: Order, scale: Scale) -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let open = Memo::new(move |_| inside.session.block.get() == Some(index));
    let toggle = move |_| inside.session.block.update(|now| *now = (*now != Some(index)).then_some(index));
    let cost = Cost::of(&block.steps);
    let line = move || {
        t_string!(i18n, inside.block_line, parameters = format::count(cost.parameters), flops = operations(cost.flops))
    };
    let feeds = if order == Order::Serial { word!(i18n, adds_mlp) } else { word!(i18n, adds_mlp_beside) };
    let (attention, mlp, after) = (block.attention.clone(), block.mlp.clone(), block.after.clone());
    let opened = StoredValue::new((block, before));
    let id = format!("stack-block-{index}");
    view! {
        <li class="stack-item block" class:open=move || open.get() data-block=index>
            <button
                class="stack-open"
                aria-expanded=move || open.get().to_string()
                aria-controls=id.clone()
                on:click=toggle
            >
                <Icon name="down" size=16/>
                <strong>{move || t_string!(i18n, inside.block, index = index + 1)}</strong>
                <span class="hint num">{line}</span>
            </button>
            <Row name=word!(i18n, adds_attention) values=attention scale kind="attention"/>
            <Row name=feeds values=mlp scale kind="mlp"/>
            <Row name=word!(i18n, stream) values=after scale kind="stream"/>
            <div id=id class="stack-opened">
                <Show when=move || open.get()>
                    {move || {
                        let (block, before) = opened.get_value();
                        view! { <Opened index block before/> }
                    }}
                </Show>
            </div>
        </li>
    }
}

/// `10 × 128`
pub fn shape(sides: &[u32]) -> String {
    sides.iter().map(u32::to_string).collect::<Vec<_>>().join(" × ")
}
