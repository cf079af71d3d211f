"""Planning: how every layer of a graph is built on a board, and what that takes."""

from mixq.plan.folding import Folding
from mixq.plan.layer_shape import LayerShape
from mixq.plan.planner import FrontierPoint, Planner, plan
from mixq.plan.values import LayerPlan, Plan

__all__ = ["Folding", "FrontierPoint", "LayerPlan", "LayerShape", "Plan", "Planner", "plan"]
