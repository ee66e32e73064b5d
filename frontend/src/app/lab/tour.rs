//! The stops of the attention lab's tour.

use crate::app::components::tour::Stop;
use crate::app::i18n::t_string;

pub const STOPS: [Stop; 5] = [
    Stop {
        target: ".lab-text",
        title: |i18n| t_string!(i18n, lab.tour_text_title),
        text: |i18n| t_string!(i18n, lab.tour_text),
    },
    Stop {
        target: ".lab-tokens",
        title: |i18n| t_string!(i18n, lab.tour_tokens_title),
        text: |i18n| t_string!(i18n, lab.tour_tokens),
    },
    Stop {
        target: ".lab-heads",
        title: |i18n| t_string!(i18n, lab.tour_heads_title),
        text: |i18n| t_string!(i18n, lab.tour_heads),
    },
    Stop {
        target: ".lab-steps",
        title: |i18n| t_string!(i18n, lab.tour_steps_title),
        text: |i18n| t_string!(i18n, lab.tour_steps),
    },
    Stop {
        target: ".lab-next",
        title: |i18n| t_string!(i18n, lab.tour_next_title),
        text: |i18n| t_string!(i18n, lab.tour_next),
    },
];
