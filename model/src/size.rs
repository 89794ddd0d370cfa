//! Size accounting. (skeleton)
