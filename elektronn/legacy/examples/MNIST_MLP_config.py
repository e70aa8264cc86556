"""Digits as vectors, perceptrons only: the settings of ELEKTRONN 1's own example. Data as for MNIST_CNN_warp_config."""

save_path = "~/CNN_Training/2D/"
save_name = "MNIST_MLP"
save_path += save_name + "/"
overwrite = True

# network
mode = "vect-scalar"
n_lab = 10
MLP_layers = [300, 300]
activation_func = "relu"
batch_size = 50

# data
data_class_name = "MNISTData"
data_load_kwargs = {"path": None, "convert2image": False, "warp_on": False, "shift_augment": True}
background_processes = 2

# training
optimizer = "SGD"
SGD_params = {"LR": 0.02, "momentum": 0.9}
LR_decay = 0.99
weight_decay = False
n_steps = 100000
max_runtime = 1800
history_freq = [100]
monitor_batch_size = 10000
