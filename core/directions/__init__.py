"""Concepts as directions in a layer's space: ConceptSHAP's vectors, CAVs, what ACE discovers."""
