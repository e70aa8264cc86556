"""Digits, one label per image: the settings of ELEKTRONN 1's own example. Needs ~/.ELEKTRONN/mnist.pkl.gz or a path in data_load_kwargs."""

save_path = "~/CNN_Training/2D/"
save_name = "MNIST_CNN_warp"
save_path += save_name + "/"
overwrite = True

# network
mode = "img-scalar"
n_dim = 2
n_lab = 10
desired_input = 26
filters = [3, 3]
pool = [2, 2]
nof_filters = [16, 32]
MLP_layers = [300, 300]
activation_func = "relu"
batch_size = 50

# data
data_class_name = "MNISTData"
data_load_kwargs = {"path": None, "convert2image": True, "warp_on": True, "shift_augment": True}
background_processes = 3

# training
optimizer = "SGD"
SGD_params = {"LR": 0.02, "momentum": 0.9}
LR_decay = 0.99
weight_decay = False
n_steps = 100000
max_runtime = 1800
history_freq = [100]
monitor_batch_size = 10000
