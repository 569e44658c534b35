"""Statements that are made of losses, priors, evidence and information: what each computes, and the ledger of them."""
