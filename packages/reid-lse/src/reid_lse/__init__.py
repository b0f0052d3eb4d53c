"""Local semantic extraction: keypoints prompt a segmenter for head, torso and legs of person crops (VILLS)."""
