"""The simulator: densities, scenes, and the microscope that images and reconstructs them."""
