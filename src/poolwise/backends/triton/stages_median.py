median_forward_stages = median_backward_stages = None
