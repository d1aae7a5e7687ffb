"""What a model server says of texts: their order for a query, and whether they are harmful. Pure.

Source: OpenAI API reference, "The moderation object"; vLLM, "Re-rank API".
"""

from igw_demo.question import Moderation, Ranking, token_count
from igw_demo.usage import Document, Usage


def ranked(asked: Ranking, identity: str) -> Document:
    """Give the documents that are wanted, those with the most words of the query first."""
    scores = [_score(asked.query, document) for document in asked.documents]
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))[: asked.top]
    return {
        "id": identity,
        "model": asked.model,
        "results": [
            {"index": index, "document": {"text": asked.documents[index]}, "relevance_score": scores[index]}
            for index in order
        ],
        "usage": ranking_usage(asked).prompt_document(),
    }


def ranking_usage(asked: Ranking) -> Usage:
    """Give the tokens of the query and of the documents."""
    return Usage(sum(map(token_count, (asked.query, *asked.documents))))


def moderated(asked: Moderation, identity: str) -> Document:
    """Give a judgement for each text; this model has nothing against anything."""
    result: Document = {
        "flagged": False,
        "categories": {},
        "category_scores": {},
        "category_applied_input_types": {},
    }
    return {"id": identity, "model": asked.model, "results": [result] * asked.count}


def _score(query: str, document: str) -> float:
    asked, has = set(query.split()), set(document.split())
    return len(asked & has) / len(asked) if asked else 0.0
