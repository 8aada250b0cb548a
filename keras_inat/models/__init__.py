"""The 5-block CNN, the pretrained backbones, and their cost."""
