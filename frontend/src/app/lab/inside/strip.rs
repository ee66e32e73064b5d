//! One number a token, as a strip of colours; the token in hand is marked in every strip at once.

use leptos::html;
use leptos::prelude::*;

use super::state::use_inside;
use crate::app::lab::heat::{self, Scale};
use crate::app::lab::tokens;

#[component]
pub fn Strip(
    /// One a token.
    values: Vec<f32>,
    scale: Scale,
) -> impl IntoView {
    let inside = use_inside();
    let canvas = NodeRef::<html::Canvas>::new();
    let count = values.len();
    let shares: Vec<f32> = values.into_iter().map(|value| scale.share(value)).collect();
    Effect::new(move |_| {
        if let Some(canvas) = canvas.get() {
            heat::paint_shares(&canvas, &shares, count, inside.session.host.palette.get());
        }
    });
    let locate = move |event: &web_sys::MouseEvent| {
        let area = canvas.get_untracked()?.get_bounding_client_rect();
        let share = (f64::from(event.client_x()) - area.left()) / area.width().max(1.0);
        let token = (share * count as f64).max(0.0) as usize;
        (count > 0).then(|| token.min(count - 1))
    };
    let point = move |event: web_sys::PointerEvent| {
        let token = locate(&event);
        if inside.pointed.get_untracked() != token {
            inside.pointed.set(token);
        }
    };
    let choose = move |event: web_sys::MouseEvent| {
        if let Some(token) = locate(&event) {
            tokens::choose(inside.session, token);
        }
    };
    let share = move |part: usize| format!("{:.4}%", part as f64 / count.max(1) as f64 * 100.0);
    let mark = Memo::new(move |_| Some(inside.token()).filter(|token| *token < count));
    view! {
        <span
            class="inside-strip"
            aria-hidden="true"
            on:pointermove=point
            on:pointerdown=point
            on:pointerleave=move |_| inside.pointed.set(None)
            on:click=choose
        >
            <canvas node_ref=canvas></canvas>
            {move || mark.get().map(|token| view! { <i style:left=share(token) style:width=share(1)></i> })}
        </span>
    }
}
