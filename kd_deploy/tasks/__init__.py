"""What a model is for: columns, encoding, decoding, scores. numpy and tokenizers only."""
