"""Cell boundaries in 3-D, anisotropic EM: the settings of ELEKTRONN 1's own example, for cubes in ~/neuro_data/."""

save_path = "~/CNN_Training/3D/"
save_name = "neuro_3d"
save_path += save_name + "/"
overwrite = True

# network
mode = "img-img"
n_dim = 3
n_lab = 2
filters = [[4, 4, 1], [3, 3, 1], [3, 3, 3], [3, 3, 3], [2, 2, 1]]
pool = [[2, 2, 1], [2, 2, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]]
nof_filters = [10, 25, 40, 50, 60]
desired_input = [127, 127, 7]
activation_func = "relu"
batch_size = 1

# data: images (x, y, z) or (channel, x, y, z), labels (x, y, z) with 1 at the boundaries
data_path = "~/neuro_data/"
label_path = "~/neuro_data/"
d_files = [("raw_0.h5", "raw"), ("raw_1.h5", "raw"), ("raw_2.h5", "raw")]
l_files = [("barrier_int16_0.h5", "lab"), ("barrier_int16_1.h5", "lab"), ("barrier_int16_2.h5", "lab")]
valid_cubes = [2]
grey_augment_channels = [0]
flip_data = True
anisotropic_data = True
warp_on = 0.7
background_processes = 2

# training
optimizer = "SGD"
SGD_params = {"LR": 0.005, "momentum": 0.9}
LR_decay = 0.993
weight_decay = 1e-4
n_steps = 10**6
max_runtime = 2 * 3600
history_freq = [500]
monitor_batch_size = 10
