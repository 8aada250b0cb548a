"""What the network sees: filters, feature maps, guided backpropagation."""
