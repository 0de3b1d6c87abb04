"""The compact models: which of the teacher's layers they copy, and the LSTM student."""
