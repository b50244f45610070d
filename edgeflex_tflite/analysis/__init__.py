"""What a .tflite file says about itself before it runs."""
