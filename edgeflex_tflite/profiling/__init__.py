"""What every site of the model does on the calibration images, by forward hooks."""
