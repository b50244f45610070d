"""Where a .tflite runs and what it costs there: this host, an Android device, a Coral Edge TPU."""
