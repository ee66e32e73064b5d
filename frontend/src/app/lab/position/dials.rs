//! The rotation drawn: one dial a pair of a head's dimensions, its hand where the chosen position turns it. The arc behind is what
//! training saw; a pair that never came round stands at new angles as soon as it leaves that arc.

use std::f64::consts::{PI, TAU};

use hearth_shared::lab::position::Turns;
use leptos::prelude::*;

use super::session::use_session;
use super::siblings::{POSITIONS, TRAINED};
use super::word;
use crate::app::components::field::Slider;
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};

/// Units of the drawing.
const SIDE: f64 = 72.0;
const RADIUS: f64 = 28.0;

/// A pair under the scaling in hand.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pair {
    /// Radians a position.
    frequency: f64,
    /// Radians that training reached, from 0 on; a full turn is all there is.
    reached: f64,
}

impl Pair {
    fn all(turns: &Turns) -> Vec<Self> {
        let last = f64::from(TRAINED - 1);
        let pairs = turns.frequencies.iter().zip(&turns.plain);
        pairs.map(|(frequency, plain)| Self { frequency: *frequency, reached: (plain * last).min(TAU) }).collect()
    }

    /// Tokens of a full turn.
    fn wavelength(self) -> f64 {
        TAU / self.frequency
    }

    /// Training never saw it come round.
    fn is_slow(self) -> bool {
        self.reached < TAU
    }

    /// Stands at an angle that training never saw; a whole turn later it is the same angle. Half a position's turn is left for rounding.
    fn is_new_at(self, position: f64) -> bool {
        let angle = (self.frequency * position).rem_euclid(TAU);
        let spare = self.frequency / 2.0;
        (self.reached + spare..TAU - spare).contains(&angle)
    }
}

/// Where an angle is on the drawing: counted against the clock from the right, as angles are.
fn on_circle(angle: f64, radius: f64) -> (f64, f64) {
    let middle = SIDE / 2.0;
    (middle + radius * angle.cos(), middle - radius * angle.sin())
}

/// The arc from 0 to the angle; a whole circle is two halves.
fn arc(angle: f64) -> String {
    let at = |angle| on_circle(angle, RADIUS);
    let (start, end) = (at(0.0), at(angle));
    let part = |to: (f64, f64), large: u8| format!("A{RADIUS} {RADIUS} 0 {large} 0 {:.2} {:.2}", to.0, to.1);
    let begin = format!("M{:.2} {:.2}", start.0, start.1);
    if angle >= TAU {
        return format!("{begin}{}{}", part(at(PI), 0), part(start, 0));
    }
    format!("{begin}{}", part(end, u8::from(angle > PI)))
}

/// A wavelength as people read it.
fn tokens(count: f64) -> String {
    if count < 100.0 { format!("{count:.1}") } else { format::group(count.round() as u64) }
}

#[component]
pub fn Dials() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let pairs = Memo::new(move |_| session.turns().map(|turns| Pair::all(&turns)).unwrap_or_default());
    let summary = move || {
        let at = session.at.get();
        let (all, slow, new) = pairs.with(|pairs| {
            let count = |is: &dyn Fn(&&Pair) -> bool| pairs.iter().filter(is).count();
            (pairs.len(), count(&|pair| pair.is_slow()), count(&|pair| pair.is_new_at(at)))
        });
        let at = format::group(at as u64);
        (all > 0).then(|| {
            if new > 0 {
                t_string!(i18n, position.dials_summary, at = at, new = new, slow = slow, all = all)
            } else {
                t_string!(i18n, position.dials_seen, at = at, slow = slow, all = all)
            }
        })
    };
    view! {
        <section class="card position-dials" aria-labelledby="position-dials">
            <h2 id="position-dials">{t!(i18n, position.dials_title)}</h2>
            <p class="hint">{move || t_string!(i18n, position.dials_help, trained = TRAINED)}</p>
            <Slider
                label=word!(i18n, at)
                hint=word!(i18n, at_hint)
                value=session.at
                min=0.0
                max=f64::from(POSITIONS - 1)
                step=1.0
                digits=0
            />
            <div class="dials">
                {move || {
                    pairs
                        .get()
                        .into_iter()
                        .enumerate()
                        .map(|(index, pair)| view! { <Dial index pair/> })
                        .collect_view()
                }}
            </div>
            <p class="position-summary num" aria-live="polite">{summary}</p>
        </section>
    }
}

#[component]
fn Dial(index: usize, pair: Pair) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let angle = Memo::new(move |_| session.at.get() * pair.frequency);
    let new = Memo::new(move |_| pair.is_new_at(session.at.get()));
    let hand = move || on_circle(angle.get(), RADIUS - 5.0);
    let label = move || {
        let degrees = format!("{:.0}", angle.get().rem_euclid(TAU).to_degrees());
        let wavelength = tokens(pair.wavelength());
        let pair = index + 1;
        t_string!(i18n, position.dial_label, pair = pair, degrees = degrees, wavelength = wavelength)
    };
    let state = move || {
        if new.get() {
            Some(t_string!(i18n, position.dial_new))
        } else if pair.is_slow() {
            Some(t_string!(i18n, position.dial_slow))
        } else {
            None
        }
    };
    let middle = SIDE / 2.0;
    view! {
        <figure class="dial" class:slow=pair.is_slow() class:new=new>
            <svg viewBox=format!("0 0 {SIDE} {SIDE}") role="img" aria-label=label>
                <circle class="dial-face" cx=middle cy=middle r=RADIUS></circle>
                <path class="dial-seen" d=arc(pair.reached)></path>
                <line class="dial-hand" x1=middle y1=middle x2=move || hand().0 y2=move || hand().1></line>
                <circle class="dial-tip" cx=move || hand().0 cy=move || hand().1 r="3.5"></circle>
                <circle class="dial-hub" cx=middle cy=middle r="2"></circle>
            </svg>
            <figcaption class="num">
                <span>{tokens(pair.wavelength())}</span>
                <small>{state}</small>
            </figcaption>
        </figure>
    }
}

#[cfg(test)]
mod tests {
    use hearth_shared::lab::position::Scaling;

    use super::*;

    fn pairs() -> Vec<Pair> {
        // The second never comes round in 128 positions; under the scaling it turns four times slower.
        let plain = vec![1.0, TAU / 1000.0];
        let frequencies = vec![1.0, TAU / 4000.0];
        Pair::all(&Turns { scaling: Scaling::NONE, frequencies, plain, attention_factor: 1.0 })
    }

    #[test]
    fn a_stretched_pair_stays_within_what_training_saw() {
        let [fast, slow] = pairs()[..] else { panic!("two pairs") };
        assert!(!fast.is_slow() && slow.is_slow());
        let last = f64::from(TRAINED - 1);
        assert!(!fast.is_new_at(1e6) && !slow.is_new_at(last) && !slow.is_new_at(4.0 * last));
        assert!(slow.is_new_at(4.0 * last + 1.0));
        // A turn later it is back where training began.
        assert!(!slow.is_new_at(4000.0) && !slow.is_new_at(4000.0 + 2.0 * last) && slow.is_new_at(4000.0 + 5.0 * last));
        assert!((slow.wavelength() - 4000.0).abs() < 1e-9);
    }

    #[test]
    fn arcs_end_where_the_hand_would() {
        assert_eq!(arc(PI / 2.0), "M64.00 36.00A28 28 0 0 0 36.00 8.00");
        assert!(arc(3.5).contains(" 0 1 0 "), "{}", arc(3.5));
        assert_eq!(arc(TAU).matches('A').count(), 2);
        assert_eq!((tokens(TAU), tokens(29_164.7)), ("6.3".to_owned(), "29\u{202f}165".to_owned()));
    }
}
