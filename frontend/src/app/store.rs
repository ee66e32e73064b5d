//! What several parts show of the server: the machine, the models. One copy, refreshed here.

use gloo::timers::future::TimeoutFuture;
use hearth_shared::api::{List, models::Model, system::SystemInfo};
/// The lab's own model: small enough to keep in every browser.
pub use hearth_shared::lab::NANO;
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::client::{self, ClientError};
use super::release;

/// Something that comes from the server.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Load<T> {
    #[default]
    Waiting,
    Ready(T),
    Failed(ClientError),
}

impl<T> Load<T> {
    pub fn ready(&self) -> Option<&T> {
        match self {
            Self::Ready(value) => Some(value),
            _ => None,
        }
    }
    pub fn into_ready(self) -> Option<T> {
        match self {
            Self::Ready(value) => Some(value),
            _ => None,
        }
    }
}

impl<T> From<Result<T, ClientError>> for Load<T> {
    fn from(result: Result<T, ClientError>) -> Self {
        match result {
            Ok(value) => Self::Ready(value),
            Err(error) => Self::Failed(error),
        }
    }
}

#[derive(Clone, Copy)]
pub struct Store {
    pub system: RwSignal<Load<SystemInfo>>,
    pub models: RwSignal<Load<Vec<Model>>>,
    /// What the server has and doesn't list, as checkpoints of runs: those that an address named.
    pub unlisted: RwSignal<Vec<Model>>,
    /// The server does not answer; what is shown comes from the browser's own copy.
    pub offline: RwSignal<bool>,
    /// The server refused for want of a key.
    pub locked: RwSignal<bool>,
}

const POLL_MS: u32 = 10_000;

pub fn provide() {
    let store = Store {
        system: RwSignal::new(Load::Waiting),
        models: RwSignal::new(Load::Waiting),
        unlisted: RwSignal::new(Vec::new()),
        offline: RwSignal::new(false),
        locked: RwSignal::new(false),
    };
    provide_context(store);
    store.refresh();
    spawn_local(async move {
        loop {
            TimeoutFuture::new(POLL_MS).await;
            if !document().hidden() {
                store.load_system().await;
            }
        }
    });
    release::on_return(move || store.refresh());
}

pub fn use_store() -> Store {
    expect_context::<Store>()
}

impl Store {
    /// Asks again for everything.
    pub fn refresh(self) {
        spawn_local(async move {
            self.load_system().await;
            self.load_models().await;
        });
    }

    pub fn refresh_models(self) {
        spawn_local(self.load_models());
    }

    /// The models, once they are known.
    pub fn model(self, id: &str) -> Option<Model> {
        self.models.with(|models| models.ready()?.iter().find(|model| model.id == id).cloned())
    }

    /// Asks for a model that the list doesn't have; if there is one, [`Self::unlisted`] has it from then on.
    ///
    /// # Errors
    /// There is none of this name, or no answer.
    pub async fn load_unlisted(self, id: &str) -> Result<(), ClientError> {
        let model = client::get::<Model>(&format!("/v1/models/{}", client::path_escape(id))).await?;
        self.unlisted.update(|all| {
            all.retain(|known| known.id != model.id);
            all.push(model);
        });
        Ok(())
    }

    async fn load_system(self) {
        match client::get_answer::<SystemInfo>("/v1/hearth/system").await {
            Ok(answer) => {
                let back = self.offline.get_untracked() && !answer.stale;
                set_if_changed(self.offline, answer.stale);
                set_if_changed(self.locked, false);
                self.system.set(Load::Ready(answer.value));
                if back {
                    self.load_models().await;
                }
            }
            Err(error) => {
                set_if_changed(self.offline, error == ClientError::Unreachable);
                set_if_changed(self.locked, error.needs_key());
                // A known machine does not become unknown because one poll failed.
                if self.system.with_untracked(|system| system.ready().is_none()) {
                    self.system.set(Load::Failed(error));
                }
            }
        }
    }

    async fn load_models(self) {
        match client::get::<List<Model>>("/v1/models").await {
            Ok(list) => {
                keep_nano(&list.data);
                if self.models.with_untracked(|models| models.ready() != Some(&list.data)) {
                    self.models.set(Load::Ready(list.data));
                }
            }
            Err(error) => {
                if self.models.with_untracked(|models| models.ready().is_none()) {
                    self.models.set(Load::Failed(error));
                }
            }
        }
    }
}

/// The lab must come up without a server, so its model is kept as soon as it is known.
fn keep_nano(models: &[Model]) {
    let Some(nano) = models.iter().find(|model| model.id == NANO) else {
        return;
    };
    let urls: Vec<String> = nano.hearth.files.iter().map(|file| file_url(&nano.hearth.hash, &file.name)).collect();
    release::keep_offline(&urls);
}

/// Where a file of the model with this content hash is served. What stands there never changes.
pub fn file_url(hash: &str, file: &str) -> String {
    format!("/v1/hearth/files/{hash}/{file}")
}

fn set_if_changed(signal: RwSignal<bool>, value: bool) {
    if signal.get_untracked() != value {
        signal.set(value);
    }
}
