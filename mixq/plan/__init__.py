"""Planning: how every layer of a graph is built on a board, and what that takes."""

from mixq.plan.folding import Folding, LayerShape
from mixq.plan.planner import plan
from mixq.plan.values import LayerPlan, Plan

__all__ = ["Folding", "LayerPlan", "LayerShape", "Plan", "plan"]
