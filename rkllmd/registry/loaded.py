"""A model from the disk together with what its engine said of it."""

from dataclasses import dataclass
from typing import Any

from rkllmd.chat.builtin import choose
from rkllmd.chat.template import ChatTemplate
from rkllmd.chat.thinking import Style, find_style
from rkllmd.config.settings import Config
from rkllmd.registry.models import ModelEntry
from rkllmd.runs import Adapter, LoadSpec, ModelFacts, Sampling

_SENSES = (
    "image_start", "image_end", "image_content", "image_width", "image_height", "image_outputs",
    "audio_start", "audio_end", "audio_content",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What rooms above the worker need to know of a model that runs."""

    entry: ModelEntry
    facts: ModelFacts
    template_source: str
    template: ChatTemplate
    thinking: Style


def loaded(entry: ModelEntry, facts: ModelFacts) -> LoadedModel:
    """A model as it was loaded."""
    source = choose(entry.settings.template, facts.chat_template)
    template = ChatTemplate(source, facts.bos_text, facts.eos_text)
    return LoadedModel(
        entry, facts, source, template, entry.settings.thinking or find_style(source)
    )


def load_spec(entry: ModelEntry, config: Config) -> LoadSpec:
    """What an engine is told to load a model."""
    settings = entry.settings
    values: dict[str, Any] = {
        name: own if (own := getattr(settings, name)) is not None else common
        for name, common in (
            ("temperature", config.sampling.temperature),
            ("top_k", config.sampling.top_k),
            ("top_p", config.sampling.top_p),
            ("repeat_penalty", config.sampling.repeat_penalty),
            ("frequency_penalty", config.sampling.frequency_penalty),
            ("presence_penalty", config.sampling.presence_penalty),
        )
    }
    return LoadSpec(
        model_path=str(entry.file),
        context_tokens=settings.context,
        threads=config.engine.threads or None,
        lora=tuple(Adapter(str(entry.folder / one.file), one.scale) for one in settings.lora),
        sampling=Sampling(**values),
        max_tokens=settings.max_tokens or config.sampling.max_tokens,
        options={
            "library": config.engine.library,
            "layout": config.engine.layout,
            "embed_flash": settings.embed_flash,
            "base_domain_id": settings.base_domain_id,
            "cpus": list(settings.cpus),
            **{name: getattr(settings, name) for name in _SENSES},
        },
    )
